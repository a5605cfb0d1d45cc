// SPDX-License-Identifier: GPL-2.0-or-later
#include "util/fd.h"

#include <cerrno>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <sys/socket.h>
#include <unistd.h>

namespace drover {

UniqueFd& UniqueFd::operator=(UniqueFd&& other) noexcept
{
    if (this != &other) {
        reset();
        fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
}

void UniqueFd::reset()
{
    if (fd_ >= 0)
        close(std::exchange(fd_, -1));
}

Result<UniqueFd> UniqueFd::duplicate() const
{
    const int copy = fcntl(fd_, F_DUPFD_CLOEXEC, 0);
    if (copy < 0)
        return fail_errno("duplicating a file descriptor", errno);
    return UniqueFd(copy);
}

Result<std::pair<UniqueFd, UniqueFd>> socket_pair()
{
    int fds[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
        return fail_errno("making a socket pair", errno);
    return std::pair{UniqueFd(fds[0]), UniqueFd(fds[1])};
}

namespace {

Status change_flag(int fd, int get, int set, int flag, bool on, const char* what)
{
    const int flags = fcntl(fd, get);
    if (flags < 0 || fcntl(fd, set, on ? flags | flag : flags & ~flag) < 0)
        return fail_errno(what, errno);
    return {};
}

} // namespace

Status set_close_on_exec(int fd, bool on)
{
    return change_flag(fd, F_GETFD, F_SETFD, FD_CLOEXEC, on, "setting close-on-exec");
}

Status set_nonblocking(int fd, bool on)
{
    return change_flag(fd, F_GETFL, F_SETFL, O_NONBLOCK, on, "setting O_NONBLOCK");
}

std::set<int> open_descriptors()
{
    std::set<int> open;
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd", error)) {
        const int fd = atoi(entry.path().filename().c_str());
        if (fd > STDERR_FILENO)
            open.insert(fd);
    }
    // The directory's own descriptor was among them, and is closed by now.
    std::erase_if(open, [](int fd) { return fcntl(fd, F_GETFD) < 0; });
    return open;
}

Result<std::string> read_file(const std::string& path, size_t limit)
{
    UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd)
        return fail_errno("opening " + path, errno);
    std::string text;
    char buffer[4096];
    while (text.size() < limit) {
        const ssize_t n = read(fd.get(), buffer, sizeof buffer);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail_errno("reading " + path, errno);
        if (n == 0)
            break;
        text.append(buffer, static_cast<size_t>(n));
    }
    return text;
}

} // namespace drover
