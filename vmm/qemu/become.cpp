// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/become.h"

#include "vmm/qemu/tracker/handover.h"

#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

extern "C" { // glibc before 2.37 forgot it
#include <sys/pidfd.h>
}

namespace drover::qemu {

namespace {

struct PipeEnds {
    UniqueFd read_end;
    UniqueFd write_end;
};

Result<PipeEnds> open_pipe()
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) < 0)
        return fail_errno("making a pipe", errno);
    return PipeEnds{UniqueFd(fds[0]), UniqueFd(fds[1])};
}

/// argv or envp: the strings' pointers and a null.
std::vector<char*> pointers(std::vector<std::string>& strings)
{
    std::vector<char*> list;
    list.reserve(strings.size() + 1);
    for (std::string& text : strings)
        list.push_back(text.data());
    list.push_back(nullptr);
    return list;
}

/// What the process that was started has of the companion.
struct QemusEnds {
    UniqueFd errors;   ///< becomes stderr
    UniqueFd failure;  ///< gets errno if the program cannot be executed
    UniqueFd farewell; ///< the library's
};

std::vector<std::string> qemus_environment(const QemuStart& start, pid_t companion, int farewell)
{
    auto changes = start.environment;
    changes.emplace_back(companion_variable, std::to_string(companion));
    changes.emplace_back(farewell_variable, std::to_string(farewell));
    std::vector<std::string> variables;
    for (char** variable = environ; *variable != nullptr; ++variable) {
        const std::string_view text = *variable;
        bool replaced = false;
        for (const auto& [name, value] : changes)
            replaced = replaced || text.starts_with(name + "=");
        if (!replaced)
            variables.emplace_back(text);
    }
    for (const auto& [name, value] : changes)
        variables.push_back(name + "=" + value);
    return variables;
}

bool set_up_qemu(const QemuStart& start, const QemusEnds& ends)
{
    signal(SIGPIPE, SIG_DFL); // an ignored signal stays ignored across exec, a handled one does not
    sigset_t none;
    sigemptyset(&none);
    pthread_sigmask(SIG_SETMASK, &none, nullptr);
    if (start.null_stdio) {
        const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
        if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0)
            return false;
    }
    if (dup2(ends.errors.get(), STDERR_FILENO) < 0 || fcntl(ends.farewell.get(), F_SETFD, 0) < 0)
        return false;
    for (const int fd : start.keep_fds)
        if (fcntl(fd, F_SETFD, 0) < 0)
            return false;
    return true;
}

/// In the process that was started. If it comes to nothing the companion says why, and ends before
/// us: its words are there when our exit status is.
[[noreturn]] void execute(const QemuStart& start, pid_t companion, const QemusEnds& ends)
{
    std::vector<std::string> arguments = start.arguments;
    arguments.insert(arguments.begin(), start.binary);
    std::vector<std::string> environment = qemus_environment(start, companion, ends.farewell.get());
    if (set_up_qemu(start, ends))
        execve(start.binary.c_str(), pointers(arguments).data(), pointers(environment).data());
    const int error = errno;
    [[maybe_unused]] const ssize_t written = write(ends.failure.get(), &error, sizeof error);
    while (waitpid(companion, nullptr, 0) < 0 && errno == EINTR) {
    }
    _exit(1);
}

/// Waits until the program runs (the pipe closes on exec), or says why it does not.
Status await_exec(int failure_fd, const std::string& binary)
{
    int error = 0;
    ssize_t n = 0;
    do
        n = read(failure_fd, &error, sizeof error);
    while (n < 0 && errno == EINTR);
    if (n == static_cast<ssize_t>(sizeof error))
        return fail_errno("executing " + binary, error);
    return {};
}

} // namespace

Result<StartedQemu> become_qemu(const QemuStart& start)
{
    auto errors = open_pipe();
    auto failure = open_pipe();
    auto farewell = socket_pair();
    if (!errors || !failure || !farewell)
        return !errors ? pass(errors) : !failure ? pass(failure) : pass(farewell);
    if (auto status = set_nonblocking(errors->read_end.get(), true); !status)
        return pass(status);
    StartedQemu qemu;
    qemu.pid = getpid();
    // Before the fork: later the number may be another's.
    qemu.pidfd = UniqueFd(pidfd_open(qemu.pid, 0));
    if (!qemu.pidfd)
        return fail_errno("watching our own process", errno);
    QemusEnds ends{std::move(errors->write_end), std::move(failure->write_end),
                   std::move(farewell->second)};
    const pid_t companion = fork();
    if (companion < 0)
        return fail_errno("forking", errno);
    if (companion > 0)
        execute(start, companion, ends);
    ends = {};
    if (auto executed = await_exec(failure->read_end.get(), start.binary); !executed)
        return pass(executed);
    qemu.errors = std::move(errors->read_end);
    qemu.farewell = std::move(farewell->first);
    return qemu;
}

} // namespace drover::qemu
