// SPDX-License-Identifier: GPL-2.0-or-later
//
// drover-system-ARCH: QEMU with an integrated migration controller.
#include "system/daemon.h"
#include "system/emulator.h"
#include "util/defect.h"
#include "util/log.h"

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <glib-unix.h>
#include <unistd.h>

namespace drover {

namespace {

int fail_with(const Error& error)
{
    log::error(error.text());
    return 1;
}

/// A probing command line (-version, -machine none, …) gets the real QEMU, as if we were not here.
int execute_unchanged(const qemu::LaunchPlan& plan)
{
    std::vector<char*> arguments;
    arguments.push_back(const_cast<char*>(plan.binary.c_str()));
    for (const std::string& argument : plan.arguments)
        arguments.push_back(const_cast<char*>(argument.c_str()));
    arguments.push_back(nullptr);
    signal(SIGPIPE, SIG_DFL); // an ignored signal stays ignored across exec
    execv(plan.binary.c_str(), arguments.data());
    return fail_with(fail_errno("executing " + plan.binary, errno).error());
}

struct SignalTarget {
    Emulator& emulator;
    int signal;
};

gboolean pass_signal(gpointer data)
{
    const auto* target = static_cast<const SignalTarget*>(data);
    defects::contain([target] { target->emulator.pass_signal(target->signal); });
    return G_SOURCE_CONTINUE;
}

int run(qemu::LaunchPlan plan, const MigrationWish& wish)
{
    std::set<int> inherited = open_descriptors(); // before we open any
    std::optional<Daemon> daemon;
    if (plan.daemonize) {
        auto detached = Daemon::detach();
        if (!detached)
            return fail_with(detached.error());
        daemon = std::move(*detached);
    }
    PidFile pidfile;
    if (!plan.pidfile.empty()) {
        auto created = PidFile::create(plan.pidfile);
        if (!created)
            return fail_with(created.error());
        pidfile = std::move(*created);
    }

    GMainLoop* main_loop = g_main_loop_new(nullptr, FALSE);
    int code = 1;
    Emulator emulator(std::move(plan), wish, std::move(inherited),
                      {
                          .up =
                              [&] {
                                  if (daemon)
                                      daemon->ready();
                              },
                          .end =
                              [&](int exit_code) {
                                  code = exit_code;
                                  g_main_loop_quit(main_loop);
                              },
                      });
    defects::survive([&emulator](const Error& defect) { emulator.defect_found(defect); });
    if (Status started = emulator.start(); !started)
        return fail_with(started.error());
    SignalTarget targets[] = {{emulator, SIGTERM}, {emulator, SIGINT}, {emulator, SIGHUP}};
    for (SignalTarget& target : targets)
        g_unix_signal_add(target.signal, pass_signal, &target);
    g_main_loop_run(main_loop);
    g_main_loop_unref(main_loop);
    return code;
}

int drover_main(std::span<char*> argv)
{
    signal(SIGPIPE, SIG_IGN);
    const std::string program = argv.empty() ? "drover-system-x86_64" : argv[0];
    log::set_program(program.substr(program.rfind('/') + 1));
    log::set_verbose(getenv("DROVER_DEBUG") != nullptr);
    const std::vector<std::string> arguments(argv.begin() + 1, argv.end());
    auto plan = qemu::plan_launch(program, arguments, qemu::HostFacts::of_this_host());
    if (!plan)
        return fail_with(plan.error());
    if (!plan->own_help.empty()) {
        fputs(plan->own_help.c_str(), stdout);
        return 0;
    }
    if (plan->execute_unchanged)
        return execute_unchanged(*plan);
    log::set_guest_name(plan->name);
    auto wish = parse_policy(plan->migrate_policy);
    if (!wish)
        return fail_with(wish.error());
    for (const std::string& note : plan->notes)
        log::warning(note);
    return run(std::move(*plan), *wish);
}

} // namespace

} // namespace drover

int main(int argc, char** argv)
{
    return drover::drover_main(std::span(argv, static_cast<size_t>(argc)));
}
