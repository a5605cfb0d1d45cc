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
    setsid();
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
    PidFile file;
    file.fd_ = UniqueFd(open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600));
    if (!file.fd_)
        return fail_errno("cannot create PID file " + path, errno);
    struct flock lock {};
    lock.l_type = F_WRLCK;
    lock.l_whence = SEEK_SET;
    if (fcntl(file.fd_.get(), F_SETLK, &lock) < 0)
        return fail(ErrorKind::Refused, "PID file " + path + " is held by another process",
                    "is this guest running already?");
    const std::string text = std::to_string(getpid()) + "\n";
    if (ftruncate(file.fd_.get(), 0) < 0 ||
        pwrite(file.fd_.get(), text.data(), text.size(), 0) != static_cast<ssize_t>(text.size()))
        return fail_errno("cannot write PID file " + path, errno);
    // Absolute: a daemon changes its directory before it comes to unlinking.
    char resolved[PATH_MAX];
    file.path_ = realpath(path.c_str(), resolved) ? resolved : path;
    return file;
}

PidFile::~PidFile()
{
    if (fd_)
        unlink(path_.c_str());
}

} // namespace drover
