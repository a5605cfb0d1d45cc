// SPDX-License-Identifier: GPL-2.0-or-later
//
// drover-xen: live migration of guests from and to a Xen host.
#include "migration/policy/wish.h"
#include "system/xen_incoming.h"
#include "system/xen_server.h"
#include "util/defect.h"
#include "util/log.h"
#include "vmm/qemu/monitor_endpoint.h"

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <glib-unix.h>

namespace drover {

namespace {

constexpr const char* usage =
    "usage: drover-xen serve DOMAIN -qmp unix:PATH[,server=on,wait=off] [-migrate-policy POLICY]\n"
    "       drover-xen incoming ADDRESS [-S] [-qmp …] [-name NAME] [-disks DIRECTORY]… "
    "[-netdev …]…\n"
    "                           [-serial …]… [-config FILE]\n"
    "\n"
    "serve: QMP monitors for a guest that Xen runs on this host, a HVM guest without Xen's\n"
    "paravirtual drivers, so that it can be migrated to QEMU: migrate, query-migrate, … as of\n"
    "drover-system-x86_64. quit destroys the domain if its guest runs elsewhere.\n"
    "incoming: waits at ADDRESS (tcp:HOST:PORT, unix:PATH) for a guest of QEMU's machine `pc`, "
    "and\n"
    "makes a domain of it. Its configuration follows from what the source says: of its disks "
    "those\n"
    "are taken that lie in an allowed DIRECTORY, its network cards get the back end (-netdev, as\n"
    "QEMU's) that has the id of the source's, its serial ports those of -serial, or a pty. With\n"
    "-config FILE, xl's, it is that configuration. -S: it stays paused.\n"
    "Both: as root, in Dom0.\n";

struct Options {
    std::string verb;
    std::string subject; ///< the domain, or the address
    std::vector<MonitorEndpoint> monitors;
    MigrationWish wish;
    std::string config;
    xen::LocalParts local;
    bool paused = false;
};

/// Of a guest that comes: whether it is one of these.
bool take_local_part(Options& options, std::string_view name, const std::string& value)
{
    xen::LocalParts& local = options.local;
    if (name == "-config")
        options.config = value;
    else if (name == "-name")
        local.name = value;
    else if (name == "-disks")
        local.disks.push_back(value);
    else if (name == "-netdev")
        local.networks.push_back(value);
    else if (name == "-serial")
        local.serial_ports.push_back(value);
    else
        return false;
    return true;
}

/// Options begin with one dash, as QEMU's, or with two.
std::string_view without_second_dash(std::string_view name)
{
    return name.starts_with("--") ? name.substr(1) : name;
}

Status parse_option(Options& options, std::string_view name, const std::string& value)
{
    const bool serves = options.verb == "serve";
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
    } else if (serves || !take_local_part(options, name, value)) {
        return fail(ErrorKind::Invalid, "an option " + std::string(name) + " is not known",
                    "drover-xen --help");
    }
    return {};
}

Result<Options> parse(std::span<const std::string> words)
{
    Options options;
    if (words.size() < 2 || (words[0] != "serve" && words[0] != "incoming"))
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
        if (Status parsed = parse_option(options, without_second_dash(words[i]), words[i + 1]);
            !parsed)
            return pass(parsed);
        ++i;
    }
    if (options.verb == "serve" && options.monitors.empty())
        return fail(ErrorKind::Invalid, "no monitor is asked for", "-qmp unix:PATH,server=on");
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

int serve(const Options& options)
{
    auto domain = xen::find_domain(options.subject);
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

Result<xen::XenDestination::Config> read_config(const Options& options)
{
    xen::XenDestination::Config guest{
        .guest = {}, .paused = options.paused, .local = options.local};
    if (options.config.empty())
        return guest;
    auto config = xen::read_xl_config(options.config);
    auto read = config ? xen::guest_of_config(std::move(*config)) : pass(config);
    if (!read)
        return std::unexpected(std::move(read.error()).in(options.config));
    guest.vcpus = json_u64(read->config["b_info"], "max_vcpus", 1);
    guest.guest = std::move(*read);
    return guest;
}

int receive(const Options& options)
{
    auto address = MigrationAddress::parse(options.subject);
    if (!address)
        return fail_with(address.error());
    auto config = read_config(options);
    if (!config)
        return fail_with(config.error());
    if (!config->guest.name.empty())
        log::set_guest_name(config->guest.name);
    return run<XenIncoming>(
        [&](auto end) {
            return std::make_unique<XenIncoming>(*config, XenIncoming::Callbacks{std::move(end)});
        },
        [&](XenIncoming& incoming) { return incoming.start(*address, options.monitors); });
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
    auto options = parse(words);
    if (!options)
        return fail_with(options.error());
    return options->verb == "serve" ? serve(*options) : receive(*options);
}

} // namespace

} // namespace drover

int main(int argc, char** argv)
{
    return drover::drover_xen(std::span(argv, static_cast<size_t>(argc)));
}
