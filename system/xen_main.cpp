// SPDX-License-Identifier: GPL-2.0-or-later
//
// drover-xen: live migration of guests that Xen runs.
#include "migration/policy/wish.h"
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
    "\n"
    "Serves QMP monitors for a guest that Xen runs on this host, a HVM guest without Xen's\n"
    "paravirtual drivers, so that it can be migrated to QEMU: migrate, query-migrate, … as of\n"
    "drover-system-x86_64. Run as root, in Dom0.\n";

struct Options {
    std::string domain;
    std::vector<MonitorEndpoint> monitors;
    MigrationWish wish;
};

Result<Options> parse(std::span<const std::string> words)
{
    Options options;
    if (words.size() < 2 || words[0] != "serve")
        return fail(ErrorKind::Invalid, "what is to be done is not said", "drover-xen --help");
    options.domain = words[1];
    for (size_t i = 2; i < words.size(); i += 2) {
        if (i + 1 >= words.size())
            return fail(ErrorKind::Invalid, words[i] + " lacks its argument");
        if (words[i] == "-qmp") {
            auto endpoint = qemu::device_endpoint(words[i + 1]);
            if (!endpoint)
                return pass(endpoint);
            if (*endpoint)
                options.monitors.push_back(std::move(**endpoint));
        } else if (words[i] == "-migrate-policy") {
            auto wish = parse_policy(words[i + 1]);
            if (!wish)
                return pass(wish);
            options.wish = std::move(*wish);
        } else {
            return fail(ErrorKind::Invalid, "an option " + words[i] + " is not known",
                        "drover-xen --help");
        }
    }
    if (options.monitors.empty())
        return fail(ErrorKind::Invalid, "no monitor is asked for", "-qmp unix:PATH,server=on");
    return options;
}

int fail_with(const Error& error)
{
    log::error(error.text());
    return 1;
}

gboolean terminate(gpointer server)
{
    defects::contain([server] { static_cast<XenServer*>(server)->terminate(); });
    return G_SOURCE_CONTINUE;
}

int run(const Options& options)
{
    auto facts = find_domain(options.domain);
    if (!facts)
        return fail_with(facts.error());
    log::set_guest_name(facts->name);
    GMainLoop* main_loop = g_main_loop_new(nullptr, FALSE);
    int code = 1;
    {
        XenServer server(std::move(*facts), options.wish, {.end = [&](int exit_code) {
                             code = exit_code;
                             g_main_loop_quit(main_loop);
                         }});
        defects::survive([&server](const Error& defect) { server.defect_found(defect); });
        if (Status started = server.start(options.monitors); !started)
            return fail_with(started.error());
        g_unix_signal_add(SIGTERM, terminate, &server);
        g_unix_signal_add(SIGINT, terminate, &server);
        g_main_loop_run(main_loop);
    }
    g_main_loop_unref(main_loop);
    return code;
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
    return options ? run(*options) : fail_with(options.error());
}

} // namespace

} // namespace drover

int main(int argc, char** argv)
{
    return drover::drover_xen(std::span(argv, static_cast<size_t>(argc)));
}
