// SPDX-License-Identifier: GPL-2.0-or-later
//
// drover-xen: live migration of guests from and to a Xen host.
#include "migration/policy/wish.h"
#include "system/xen_incoming.h"
#include "system/xen_server.h"
#include "system/xen_watch.h"
#include "util/defect.h"
#include "util/log.h"
#include "vmm/qemu/monitor_endpoint.h"

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <glib-unix.h>

namespace drover {

namespace {

constexpr const char* usage =
    "usage: drover-xen serve DOMAIN -qmp unix:PATH[,server=on,wait=off] [-migrate-policy POLICY]\n"
    "       drover-xen create FILE [-name NAME] -qmp …\n"
    "       drover-xen incoming ADDRESS -config FILE [-name NAME] [-S] [-qmp …]\n"
    "       drover-xen watch\n"
    "\n"
    "serve: QMP monitors for a guest that Xen runs on this host, a HVM guest without Xen's\n"
    "paravirtual drivers, so that it can be migrated to QEMU: migrate, query-migrate, … as of\n"
    "drover-system-x86_64. quit destroys the domain if its guest runs elsewhere.\n"
    "incoming: waits at ADDRESS (tcp:HOST:PORT, unix:PATH) for a guest of QEMU's machine `pc`, "
    "and\n"
    "makes a domain of it with the configuration in FILE, which is xl's. -S: it stays paused.\n"
    "ADDRESS may be `defer`: then migrate-incoming opens the door.\n"
    "create: makes the domain with xl, and serves it. -name: of another guest nothing is made.\n"
    "watch: what Xen knows of its host and domains, a line of JSON each second, for droverd.\n"
    "All: as root, in Dom0.\n";

struct Options {
    std::string verb;
    std::string subject; ///< the domain, or the address
    std::vector<MonitorEndpoint> monitors;
    MigrationWish wish;
    std::string config;
    std::string name; ///< that the configuration must have; empty: any
    bool paused = false;
};

Status parse_option(Options& options, const std::string& name, const std::string& value)
{
    const bool serves = options.verb != "incoming";
    if (name == "-qmp") {
        auto endpoint = qemu::device_endpoint(value);
        if (!endpoint)
            return pass(endpoint);
        if (*endpoint)
            options.monitors.push_back(std::move(**endpoint));
    } else if (name == "-migrate-policy" && serves) {
        auto wish = parse_policy(value);
        if (!wish)
            return pass(wish);
        options.wish = std::move(*wish);
    } else if (name == "-config" && !serves) {
        options.config = value;
    } else if (name == "-name" && options.verb != "serve") {
        options.name = value;
    } else {
        return fail(ErrorKind::Invalid, "an option " + name + " is not known", "drover-xen --help");
    }
    return {};
}

Result<Options> parse(std::span<const std::string> words)
{
    Options options;
    static constexpr std::array verbs = {"serve", "create", "incoming"};
    if (words.size() < 2 || std::find(verbs.begin(), verbs.end(), words[0]) == verbs.end())
        return fail(ErrorKind::Invalid, "what is to be done is not said", "drover-xen --help");
    options.verb = words[0];
    options.subject = words[1];
    for (size_t i = 2; i < words.size(); ++i) {
        if (words[i] == "-S" && options.verb == "incoming") {
            options.paused = true;
            continue;
        }
        if (i + 1 >= words.size())
            return fail(ErrorKind::Invalid, words[i] + " lacks its argument");
        if (Status parsed = parse_option(options, words[i], words[i + 1]); !parsed)
            return pass(parsed);
        ++i;
    }
    if (options.verb != "incoming" && options.monitors.empty())
        return fail(ErrorKind::Invalid, "no monitor is asked for", "-qmp unix:PATH,server=on");
    if (options.verb == "incoming" && options.config.empty())
        return fail(ErrorKind::Invalid, "the guest's configuration is not given",
                    "-config FILE, as for xl create");
    return options;
}

int fail_with(const Error& error)
{
    log::error(error.text());
    return 1;
}

template <class Server> gboolean terminate(gpointer server)
{
    defects::contain([server] { static_cast<Server*>(server)->terminate(); });
    return G_SOURCE_CONTINUE;
}

/// Makes a server, which is told where to report its end, and runs it until then.
template <class Server>
int run(const std::function<std::unique_ptr<Server>(std::function<void(int)>)>& make,
        const std::function<Status(Server&)>& start)
{
    GMainLoop* main_loop = g_main_loop_new(nullptr, FALSE);
    int code = 1;
    const auto server = make([&](int exit_code) {
        code = exit_code;
        g_main_loop_quit(main_loop);
    });
    defects::survive([&](const Error& defect) { server->defect_found(defect); });
    if (Status started = start(*server); !started)
        return fail_with(started.error());
    g_unix_signal_add(SIGTERM, terminate<Server>, server.get());
    g_unix_signal_add(SIGINT, terminate<Server>, server.get());
    g_main_loop_run(main_loop);
    g_main_loop_unref(main_loop);
    return code;
}

int serve(const std::string& guest, const Options& options)
{
    auto domain = xen::find_domain(guest);
    if (!domain)
        return fail_with(domain.error());
    log::set_guest_name(domain->name);
    return run<XenServer>(
        [&](auto end) {
            return std::make_unique<XenServer>(*domain, options.wish,
                                               XenServer::Callbacks{std::move(end)});
        },
        [&](XenServer& server) { return server.start(options.monitors); });
}

/// The configuration in a file, of the guest that is meant.
Result<Json> config_of_guest(const std::string& file, const std::string& name)
{
    auto config = xen::read_xl_config(file);
    if (!config)
        return pass(config);
    const std::string found = json_string((*config)["c_info"], "name");
    if (!name.empty() && found != name)
        return fail(ErrorKind::Refused, file + " is of the guest " + found + ", not of " + name);
    return config;
}

int create(const Options& options)
{
    auto config = config_of_guest(options.subject, options.name);
    if (!config)
        return fail_with(config.error());
    if (auto made = xen::run_xl({"create", "-q", options.subject}); !made)
        return fail_with(made.error());
    return serve(json_string((*config)["c_info"], "name"), options);
}

int watch()
{
    return run<XenWatch>([](auto end) { return std::make_unique<XenWatch>(std::move(end)); },
                         [](XenWatch& watch) { return watch.start(); });
}

Result<xen::XenDestination::Config> read_config(const Options& options)
{
    auto config = config_of_guest(options.config, options.name);
    if (!config)
        return pass(config);
    const Json& about = (*config)["c_info"];
    const Json& build = (*config)["b_info"];
    xen::XenDestination::Config guest;
    guest.guest.name = json_string(about, "name");
    guest.guest.uuid = json_string(about, "uuid");
    guest.guest.memory = json_u64(build, "max_memkb") << 10;
    guest.vcpus = json_u64(build, "max_vcpus", 1);
    guest.paused = options.paused;
    guest.early = xen::model_can_wait(*config);
    if (guest.guest.name.empty() || guest.guest.memory == 0)
        return fail(ErrorKind::Invalid, options.config + " names no guest, or no memory");
    guest.guest.config = std::move(*config);
    return guest;
}

int receive(const Options& options)
{
    std::optional<MigrationAddress> address;
    if (options.subject != "defer") {
        auto parsed = MigrationAddress::parse(options.subject);
        if (!parsed)
            return fail_with(parsed.error());
        address = std::move(*parsed);
    }
    auto config = read_config(options);
    if (!config)
        return fail_with(config.error());
    log::set_guest_name(config->guest.name);
    return run<XenIncoming>(
        [&](auto end) {
            return std::make_unique<XenIncoming>(*config, XenIncoming::Callbacks{std::move(end)});
        },
        [&](XenIncoming& incoming) { return incoming.start(address, options.monitors); });
}

int drover_xen(std::span<char*> argv)
{
    signal(SIGPIPE, SIG_IGN);
    log::set_program("drover-xen");
    log::set_verbose(getenv("DROVER_DEBUG") != nullptr);
    const std::vector<std::string> words(argv.begin() + 1, argv.end());
    if (words.empty() || words[0] == "--help" || words[0] == "-help") {
        fputs(usage, stdout);
        return words.empty() ? 1 : 0;
    }
    // By this droverd knows us again; xl's processes, which stay, are not us.
    unsetenv("DROVER_VM_DIRECTORY");
    if (words.size() == 1 && words[0] == "watch")
        return watch();
    auto options = parse(words);
    if (!options)
        return fail_with(options.error());
    if (options->verb == "create")
        return create(*options);
    return options->verb == "serve" ? serve(options->subject, *options) : receive(*options);
}

} // namespace

} // namespace drover

int main(int argc, char** argv)
{
    return drover::drover_xen(std::span(argv, static_cast<size_t>(argc)));
}
