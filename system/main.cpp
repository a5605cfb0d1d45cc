// SPDX-License-Identifier: GPL-2.0-or-later
//
// drover-system-ARCH: QEMU with an integrated migration controller.
#include "system/daemon.h"
#include "system/emulator.h"
#include "util/defect.h"
#include "util/log.h"
#include "vmm/qemu/tracker/standstill.h"

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

gboolean pass_signal(gpointer emulator)
{
    defects::contain([emulator] { static_cast<Emulator*>(emulator)->pass_signal(SIGTERM); });
    return G_SOURCE_CONTINUE;
}

/// What a terminal sends to all of its foreground group, and what the end of a session sends: for
/// QEMU, which gets it too. We end when QEMU has. SIGTERM, which no terminal sends, is meant for
/// the guest, whichever of the two processes it was sent to. SIGTTOU would stop us when we say how
/// QEMU ended, and a shell has the terminal back.
void listen_to_signals(Emulator& emulator)
{
    for (const int ignored : {SIGINT, SIGHUP, SIGQUIT, SIGTTOU})
        signal(ignored, SIG_IGN);
    g_unix_signal_add(SIGTERM, pass_signal, &emulator);
}

Status prepare_process(const qemu::LaunchPlan& plan, std::optional<Daemon>& daemon,
                       std::optional<PidFile>& pidfile)
{
    if (plan.daemonize) {
        auto detached = Daemon::detach();
        if (!detached)
            return pass(detached);
        daemon = std::move(*detached);
    }
    if (!plan.pidfile.empty()) {
        auto created = PidFile::create(plan.pidfile);
        if (!created)
            return pass(created);
        pidfile = std::move(*created);
    }
    return {};
}

int run(qemu::LaunchPlan plan, const MigrationWish& wish)
{
    std::set<int> inherited = open_descriptors(); // before we open any
    std::optional<Daemon> daemon;
    std::optional<PidFile> pidfile;
    if (Status prepared = prepare_process(plan, daemon, pidfile); !prepared)
        return fail_with(prepared.error());
    const pid_t guest = getpid();
    GMainLoop* main_loop = g_main_loop_new(nullptr, FALSE);
    int code = 1;
    Emulator emulator(std::move(plan), wish, std::move(inherited),
                      {
                          .up =
                              [&] {
                                  if (daemon)
                                      daemon->ready();
                              },
                          .gone =
                              [&] {
                                  if (pidfile)
                                      pidfile->remove(guest);
                              },
                          .end =
                              [&](int exit_code) {
                                  code = exit_code;
                                  g_main_loop_quit(main_loop);
                              },
                      });
    defects::survive([&emulator](const Error& defect) { emulator.defect_found(defect); });
    if (Status started = emulator.start(); !started) {
        if (pidfile)
            pidfile->remove(guest);
        return fail_with(started.error());
    }
    // From here on in the companion: the process that was started is QEMU.
    Standstill::prepare_process();
    listen_to_signals(emulator);
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
