// SPDX-License-Identifier: GPL-2.0-or-later
#include "system/daemon.h"

#include <cerrno>
#include <climits>
#include <cstdlib>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace drover {

namespace {

/// In the process that was started: lives until the child says something, or ends.
[[noreturn]] void wait_for_child(UniqueFd from_child)
{
    char word = 0;
    ssize_t n;
    do {
        n = read(from_child.get(), &word, 1);
    } while (n < 0 && errno == EINTR);
    _exit(n == 1 ? 0 : 1);
}

/// In a session of its own, but not as its leader: a terminal that QEMU opens (a serial line) would
/// become the leader's own, and the line's hanging up QEMU's end.
Status leave_session()
{
    setsid();
    const pid_t child = fork();
    if (child < 0)
        return fail_errno("-daemonize: fork", errno);
    if (child > 0)
        _exit(0); // whoever was started waits for the child's word, not for us
    return {};
}

/// By another process than us, that is.
bool is_locked(int fd)
{
    struct flock lock {};
    lock.l_type = F_WRLCK;
    lock.l_whence = SEEK_SET;
    return fcntl(fd, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

} // namespace

Result<Daemon> Daemon::detach()
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) < 0)
        return fail_errno("-daemonize: making a pipe", errno);
    UniqueFd from_child(fds[0]);
    UniqueFd to_parent(fds[1]);
    const pid_t child = fork();
    if (child < 0)
        return fail_errno("-daemonize: fork", errno);
    if (child > 0) {
        to_parent.reset();
        wait_for_child(std::move(from_child));
    }
    if (Status left = leave_session(); !left)
        return std::unexpected(left.error());
    return Daemon(std::move(to_parent));
}

void Daemon::ready()
{
    if (!parent_)
        return;
    const UniqueFd null(open("/dev/null", O_RDWR | O_CLOEXEC));
    for (int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
        dup2(null.get(), fd);
    [[maybe_unused]] const int moved = chdir("/");
    [[maybe_unused]] const ssize_t written = write(parent_.get(), "+", 1);
    parent_.reset();
}

Result<PidFile> PidFile::create(const std::string& path)
{
    const UniqueFd fd(open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600));
    if (!fd)
        return fail_errno("cannot create PID file " + path, errno);
    if (is_locked(fd.get()))
        return fail(ErrorKind::Refused, "PID file " + path + " is held by another process",
                    "is this guest running already?");
    char resolved[PATH_MAX];
    return PidFile(realpath(path.c_str(), resolved) ? resolved : path);
}

void PidFile::remove(pid_t holder) const
{
    const UniqueFd fd(open(path_.c_str(), O_RDONLY | O_CLOEXEC));
    char text[32] = {};
    if (!fd || read(fd.get(), text, sizeof text - 1) < 0 || is_locked(fd.get()))
        return;
    if (text[0] == '\0' || strtol(text, nullptr, 10) == holder)
        unlink(path_.c_str());
}

} // namespace drover
