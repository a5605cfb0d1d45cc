// SPDX-License-Identifier: GPL-2.0-or-later
//
// drover-xen: live migration of guests from and to a Xen host.
#include "migration/policy/wish.h"
#include "system/xen_incoming.h"
#include "system/xen_options.h"
#include "system/xen_server.h"
#include "system/xen_watch.h"
#include "util/defect.h"
#include "util/log.h"
#include "vmm/qemu/monitor_endpoint.h"
#include "vmm/xen/guest/model_arguments.h"
#include "vmm/xen/live/xen_cpu.h"

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <glib-unix.h>

namespace drover {

namespace {

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

int serve(const std::string& guest, const XenOptions& options)
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

int create(const XenOptions& options)
{
    auto config = config_of_guest(options.subject, options.local.name);
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

int tell_cpus()
{
    const auto told = xen::describe_host_cpu();
    if (!told)
        return fail_with(told.error());
    printf("%s\n", dump_json(*told).c_str());
    return 0;
}

Result<xen::XenDestination::Config> read_config(const XenOptions& options)
{
    xen::XenDestination::Config guest{
        .guest = {}, .paused = options.paused, .local = options.local};
    if (options.config.empty())
        return guest;
    auto config = config_of_guest(options.config, options.local.name);
    auto read = config ? xen::guest_of_config(std::move(*config)) : pass(config);
    if (!read)
        return std::unexpected(std::move(read.error()).in(options.config));
    if (Status disks = xen::check_no_own_disks(read->config); !disks)
        return std::unexpected(std::move(disks.error()).in(options.config));
    guest.vcpus = json_u64(read->config["b_info"], "max_vcpus", 1);
    guest.early = xen::model_can_wait(read->config);
    guest.guest = std::move(*read);
    return guest;
}

int receive(const XenOptions& options)
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
    if (!config->guest.name.empty())
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
        fputs(xen_usage, stdout);
        return words.empty() ? 1 : 0;
    }
    // By this droverd knows us again; xl's processes, which stay, are not us.
    unsetenv("DROVER_VM_DIRECTORY");
    if (words.size() == 1 && words[0] == "watch")
        return watch();
    if (words.size() == 1 && words[0] == "cpus")
        return tell_cpus();
    auto options = parse_xen_options(words);
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
