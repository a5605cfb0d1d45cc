// SPDX-License-Identifier: GPL-2.0-or-later
#include "monitor/endpoint_socket.h"

#include <cerrno>
#include <csignal>
#include <netdb.h>
#include <sys/stat.h>
#include <unistd.h>

namespace drover {

namespace {

constexpr int backlog = 8;
constexpr int stream_flags = SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK;

/// A name that is no file: nobody has to remove it, and nobody else can.
Result<ListeningSocket> listen_abstract(const MonitorEndpoint& endpoint)
{
    auto where = unix_address(endpoint);
    if (!where)
        return pass(where);
    UniqueFd fd(socket(AF_UNIX, stream_flags, 0));
    if (!fd)
        return fail_errno("making a socket", errno);
    if (bind(fd.get(), where->get(), where->length) < 0 || listen(fd.get(), backlog) < 0)
        return fail_errno("listening on " + describe(endpoint), errno);
    return ListeningSocket{std::move(fd), {}};
}

int bind_to(int fd, const UnixAddress& where)
{
    return bind(fd, where.get(), where.length) == 0 ? 0 : errno;
}

/// Whether the process that called listen() is no more: the guest whose monitor it was has ended,
/// and its companion has not closed it yet. A zombie still counts as there.
bool listener_has_ended(int connected)
{
    ucred listener = {};
    socklen_t size = sizeof listener;
    return getsockopt(connected, SOL_SOCKET, SO_PEERCRED, &listener, &size) == 0 &&
           listener.pid > 0 && kill(listener.pid, 0) < 0 && errno == ESRCH;
}

/// Removes what a dead program left, and nothing else.
Status remove_stale_socket(const std::string& path, const UnixAddress& where)
{
    struct stat status = {};
    if (lstat(path.c_str(), &status) == 0 && !S_ISSOCK(status.st_mode))
        return fail(ErrorKind::Invalid, path + " exists and is not a socket",
                    "remove it or choose another path");
    const UniqueFd probe(socket(AF_UNIX, stream_flags, 0));
    if (!probe)
        return fail_errno("making a socket", errno);
    const bool connected = connect(probe.get(), where.get(), where.length) == 0;
    const int error = connected ? 0 : errno;
    if ((connected && !listener_has_ended(probe.get())) || error == EAGAIN || error == EINPROGRESS)
        return fail(ErrorKind::Refused, "another program listens on " + path,
                    "end it or choose another path");
    if (!connected && error != ECONNREFUSED && error != ENOENT)
        return fail_errno("probing " + path, error);
    if (unlink(path.c_str()) < 0 && errno != ENOENT)
        return fail_errno("removing the stale socket " + path, errno);
    return {};
}

Result<ListeningSocket> listen_unix(const MonitorEndpoint& endpoint)
{
    const std::string& path = endpoint.path;
    auto where = unix_address(endpoint);
    if (!where)
        return pass(where);
    UniqueFd fd(socket(AF_UNIX, stream_flags, 0));
    if (!fd)
        return fail_errno("making a socket", errno);
    int error = bind_to(fd.get(), *where);
    if (error == EADDRINUSE) {
        if (Status removed = remove_stale_socket(path, *where); !removed)
            return pass(removed);
        error = bind_to(fd.get(), *where);
    }
    if (error != 0)
        return fail_errno("binding a socket to " + path, error);
    SocketFile file(path);
    if (listen(fd.get(), backlog) < 0)
        return fail_errno("listening on " + path, errno);
    return ListeningSocket{std::move(fd), std::move(file)};
}

Result<UniqueFd> listen_on_address(const addrinfo& address)
{
    UniqueFd fd(socket(address.ai_family, stream_flags, 0));
    if (!fd)
        return fail_errno("making a socket", errno);
    const int on = 1;
    setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd.get(), address.ai_addr, address.ai_addrlen) < 0)
        return fail_errno("binding", errno);
    if (listen(fd.get(), backlog) < 0)
        return fail_errno("listening", errno);
    return fd;
}

Result<ListeningSocket> listen_tcp(const MonitorEndpoint& endpoint)
{
    addrinfo hints = {};
    hints.ai_flags = AI_PASSIVE;
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* list = nullptr;
    const int status = getaddrinfo(endpoint.host.empty() ? nullptr : endpoint.host.c_str(),
                                   endpoint.port.c_str(), &hints, &list);
    if (status != 0)
        return fail(ErrorKind::Invalid, describe(endpoint) + ": " + gai_strerror(status));
    const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner(list, freeaddrinfo);
    Result<UniqueFd> fd = fail(ErrorKind::System, "no address");
    for (const addrinfo* address = list; address && !fd; address = address->ai_next)
        fd = listen_on_address(*address);
    if (!fd)
        return std::unexpected(std::move(fd.error()).in(describe(endpoint)));
    return ListeningSocket{std::move(*fd), {}};
}

Result<ListeningSocket> adopt_listening(int number)
{
    UniqueFd fd(number);
    int listening = 0;
    socklen_t size = sizeof listening;
    if (getsockopt(number, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) < 0 || listening == 0)
        return fail(ErrorKind::Invalid,
                    "file descriptor " + std::to_string(number) + " is not a listening socket",
                    "the parent process must pass one that is");
    if (Status set = set_close_on_exec(number, true); !set)
        return pass(set);
    if (Status set = set_nonblocking(number, true); !set)
        return pass(set);
    return ListeningSocket{std::move(fd), {}};
}

} // namespace

SocketFile::SocketFile(std::string path)
{
    struct stat status = {};
    if (lstat(path.c_str(), &status) < 0)
        return;
    path_ = std::move(path);
    device_ = status.st_dev;
    inode_ = status.st_ino;
}

SocketFile::SocketFile(SocketFile&& other) noexcept
    : path_(std::exchange(other.path_, {})), device_(other.device_), inode_(other.inode_)
{
}

SocketFile& SocketFile::operator=(SocketFile&& other) noexcept
{
    std::swap(path_, other.path_);
    std::swap(device_, other.device_);
    std::swap(inode_, other.inode_);
    return *this;
}

SocketFile::~SocketFile()
{
    struct stat status = {};
    if (!path_.empty() && lstat(path_.c_str(), &status) == 0 && status.st_dev == device_ &&
        status.st_ino == inode_)
        unlink(path_.c_str());
}

Result<ListeningSocket> listen_on_endpoint(const MonitorEndpoint& endpoint)
{
    switch (endpoint.kind) {
    case MonitorEndpoint::Kind::UnixListen:
        return endpoint.abstract ? listen_abstract(endpoint) : listen_unix(endpoint);
    case MonitorEndpoint::Kind::TcpListen: return listen_tcp(endpoint);
    case MonitorEndpoint::Kind::ListenFd: return adopt_listening(endpoint.fd);
    default: return fail(ErrorKind::Invalid, describe(endpoint) + " does not listen");
    }
}

std::string describe(const MonitorEndpoint& endpoint)
{
    switch (endpoint.kind) {
    case MonitorEndpoint::Kind::UnixListen:
    case MonitorEndpoint::Kind::UnixConnect:
        return (endpoint.abstract ? "unix:@" : "unix:") + endpoint.path;
    case MonitorEndpoint::Kind::TcpListen:
    case MonitorEndpoint::Kind::TcpConnect: return "tcp:" + endpoint.host + ":" + endpoint.port;
    case MonitorEndpoint::Kind::ListenFd:
    case MonitorEndpoint::Kind::ConnectedFd:
        return "file descriptor " + std::to_string(endpoint.fd);
    case MonitorEndpoint::Kind::Stdio: return "standard input";
    }
    return "unknown";
}

} // namespace drover
