// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/tracker/tracees.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <filesystem>
#include <poll.h>
#include <string>
#include <sys/ptrace.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

extern "C" { // glibc before 2.37 forgot it
#include <sys/pidfd.h>
}

namespace drover {

namespace {

/// Another thread that does not block SIGCHLD, in a process that was not prepared, may take it.
constexpr int longest_wait_ms = 1;

sigset_t child_signal()
{
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    return child;
}

std::string task_directory(pid_t process)
{
    return "/proc/" + std::to_string(process) + "/task";
}

/// One that has ended, and was not reaped yet or is the first of others, cannot be traced.
bool has_ended(pid_t process, pid_t thread)
{
    const auto text = read_file(task_directory(process) + "/" + std::to_string(thread) + "/stat");
    const size_t name_end = text ? text->rfind(')') : std::string::npos;
    if (name_end == std::string::npos || name_end + 2 >= text->size())
        return true;
    const char state = text->at(name_end + 2);
    return state == 'Z' || state == 'X';
}

Error not_traceable(int error)
{
    if (error != EPERM)
        return fail_errno("stopping QEMU for a look at its written pages", error).error();
    return {ErrorKind::System, "QEMU cannot be stopped for a look at its written pages",
            "is it under a debugger (gdb, strace), or is tracing (ptrace) forbidden here?"};
}

/// Milliseconds, rounded up: 0 only when it is over.
int left_until(TimePoint deadline)
{
    using std::chrono::milliseconds;
    const auto left = std::chrono::ceil<milliseconds>(deadline - Clock::now());
    return static_cast<int>(std::max(left, milliseconds(0)).count());
}

} // namespace

Tracees::Tracees(const ProcessHandle& process) : process_(process)
{
    // Here too, for those whose process was not prepared, such as a test's.
    const sigset_t child = child_signal();
    pthread_sigmask(SIG_BLOCK, &child, nullptr);
    changes_ = UniqueFd(signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK));
}

/// False if it is gone, which is no error.
Result<bool> Tracees::seize(pid_t thread)
{
    if (ptrace(PTRACE_SEIZE, thread, nullptr, nullptr) < 0) {
        const int error = errno;
        if (error == ESRCH || has_ended(process_.pid(), thread))
            return false;
        return std::unexpected(not_traceable(error));
    }
    // It can only fail where the thread has ended meanwhile, which is seen by waiting for it.
    ptrace(PTRACE_INTERRUPT, thread, nullptr, nullptr);
    return true;
}

Result<bool> Tracees::seize_new()
{
    if (!changes_)
        return fail_errno("making a signalfd", errno);
    namespace fs = std::filesystem;
    bool found = false;
    std::error_code error;
    fs::directory_iterator at(task_directory(process_.pid()), error);
    for (; !error && at != fs::directory_iterator(); at.increment(error)) {
        const std::string name = at->path().filename().string();
        pid_t thread = 0;
        std::from_chars(name.data(), name.data() + name.size(), thread);
        if (thread == 0)
            continue;
        if (!tracees_.contains(thread)) {
            const auto seized = seize(thread);
            if (!seized)
                return seized;
            tracees_[thread].ended = !*seized;
            found = true;
        }
        // A list in which one ends may lack those behind it. The first ends with the process.
        found = found || (tracees_[thread].ended && thread != process_.pid());
    }
    if (error)
        return fail(ErrorKind::Machine, "QEMU died while its written pages were collected");
    return found;
}

/// Whether it has stopped, or ended.
bool Tracees::look(pid_t thread, Tracee& tracee) const
{
    if (tracee.stopped || tracee.ended)
        return true;
    siginfo_t info{};
    int result;
    do
        result =
            waitid(P_PID, static_cast<id_t>(thread), &info, WSTOPPED | WEXITED | WNOHANG | __WALL);
    while (result < 0 && errno == EINTR);
    if (result == 0 && info.si_pid == 0)
        return false;
    tracee.ended = result < 0 || (info.si_code != CLD_TRAPPED && info.si_code != CLD_STOPPED);
    tracee.stopped = !tracee.ended;
    // Stopped since we asked for it, which is an event, or since a signal came first.
    if (tracee.stopped && info.si_status >> 8 != PTRACE_EVENT_STOP)
        tracee.signal = info.si_status & 0x7f;
    return true;
}

Result<bool> Tracees::await_stops(TimePoint deadline)
{
    for (int left = left_until(deadline);; left = left_until(deadline)) {
        const bool all = std::ranges::all_of(
            tracees_, [this](auto& tracee) { return look(tracee.first, tracee.second); });
        if (all || left == 0)
            return left > 0;
        pollfd change{changes_.get(), POLLIN, 0};
        poll(&change, 1, std::min(left, longest_wait_ms));
        std::array<signalfd_siginfo, 16> signals;
        [[maybe_unused]] const ssize_t taken = read(changes_.get(), signals.data(), sizeof signals);
    }
}

Result<bool> Tracees::are_of_the_process() const
{
    if (std::ranges::none_of(tracees_, [](const auto& it) { return it.second.stopped; }) ||
        pidfd_send_signal(process_.pidfd(), 0, nullptr, 0) < 0)
        return fail(ErrorKind::Machine, "QEMU died while its written pages were collected");
    return true;
}

void Tracees::let_go()
{
    for (auto& [thread, tracee] : tracees_)
        if (look(thread, tracee) && tracee.stopped)
            ptrace(PTRACE_DETACH, thread, nullptr, static_cast<long>(tracee.signal));
    tracees_.clear();
}

} // namespace drover
