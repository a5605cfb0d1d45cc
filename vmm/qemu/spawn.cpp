// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/spawn.h"

#include <array>
#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

extern "C" { // glibc before 2.37 forgot it
#include <sys/pidfd.h>
}

namespace drover::qemu {

namespace {

struct Pipe {
    UniqueFd read_end;
    UniqueFd write_end;
};

Result<Pipe> make_pipe()
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) < 0)
        return fail_errno("making a pipe", errno);
    return Pipe{UniqueFd(fds[0]), UniqueFd(fds[1])};
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

std::vector<std::string> child_environment(const SpawnRequest& request)
{
    std::vector<std::string> variables;
    for (char** variable = environ; *variable != nullptr; ++variable) {
        const std::string_view text = *variable;
        bool replaced = false;
        for (const auto& [name, value] : request.environment)
            replaced = replaced || text.starts_with(name + "=");
        if (!replaced)
            variables.emplace_back(text);
    }
    for (const auto& [name, value] : request.environment)
        variables.push_back(name + "=" + value);
    return variables;
}

/// All that the child needs after fork(), when it may not allocate any more: other threads of ours
/// may have held the allocator's lock.
struct ChildPlan {
    std::vector<char*> argv;
    std::vector<char*> envp;
    const char* binary = nullptr;
    const std::vector<int>* keep_fds = nullptr;
    bool null_stdio = false;
    int errors = -1;  ///< becomes stderr
    int failure = -1; ///< gets errno if the program cannot be executed
    pid_t parent = -1;
};

bool set_up_child(const ChildPlan& plan)
{
    // If we died between fork() and this line, the signal would never come.
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
        return false;
    if (getppid() != plan.parent)
        _exit(127);
    signal(SIGPIPE, SIG_DFL); // an ignored signal stays ignored across exec, a handled one does not
    sigset_t none;
    sigemptyset(&none);
    pthread_sigmask(SIG_SETMASK, &none, nullptr);
    if (plan.null_stdio) {
        const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
        if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0)
            return false;
    }
    if (dup2(plan.errors, STDERR_FILENO) < 0)
        return false;
    for (const int fd : *plan.keep_fds)
        if (fcntl(fd, F_SETFD, 0) < 0)
            return false;
    return true;
}

[[noreturn]] void run_child(const ChildPlan& plan)
{
    if (set_up_child(plan))
        execve(plan.binary, plan.argv.data(), plan.envp.data());
    const int error = errno;
    [[maybe_unused]] const ssize_t written = write(plan.failure, &error, sizeof error);
    _exit(127);
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

Result<Spawned> spawn_child(const SpawnRequest& request)
{
    auto errors = make_pipe();
    auto failure = make_pipe();
    if (!errors || !failure)
        return pass(errors ? failure : errors);
    if (auto status = set_nonblocking(errors->read_end.get(), true); !status)
        return pass(status);

    std::vector<std::string> arguments = request.arguments;
    arguments.insert(arguments.begin(), request.binary);
    std::vector<std::string> environment = child_environment(request);
    const ChildPlan plan{
        pointers(arguments), pointers(environment),   request.binary.c_str(),   &request.keep_fds,
        request.null_stdio,  errors->write_end.get(), failure->write_end.get(), getpid()};
    const pid_t pid = fork();
    if (pid < 0)
        return fail_errno("forking", errno);
    if (pid == 0)
        run_child(plan);
    failure->write_end.reset();

    auto status = await_exec(failure->read_end.get(), request.binary);
    UniqueFd pidfd(pidfd_open(pid, 0));
    if (status && !pidfd)
        status = fail_errno("watching the process of " + request.binary, errno);
    if (!status) {
        ::kill(pid, SIGKILL);
        while (waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
        }
        return pass(status);
    }
    return Spawned{pid, std::move(pidfd), std::move(errors->read_end)};
}

} // namespace drover::qemu
