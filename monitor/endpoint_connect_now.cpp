// SPDX-License-Identifier: GPL-2.0-or-later
#include "monitor/endpoint_socket.h"

#include <cerrno>
#include <cstring>
#include <linux/tcp.h>
#include <memory>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

namespace drover {

namespace {

constexpr int patience_ms = 30'000;

/// errno, or 0 once it is connected.
int connect_within_patience(int fd, const sockaddr* address, socklen_t length)
{
    if (connect(fd, address, length) == 0)
        return 0;
    if (errno != EINPROGRESS)
        return errno;
    pollfd done{fd, POLLOUT, 0};
    int ready;
    do
        ready = poll(&done, 1, patience_ms);
    while (ready < 0 && errno == EINTR);
    if (ready == 0)
        return ETIMEDOUT;
    int error = 0;
    socklen_t size = sizeof error;
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0 ? errno : error;
}

Result<UniqueFd> connect_to_address(int family, const sockaddr* address, socklen_t length)
{
    UniqueFd fd(socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!fd)
        return fail_errno("making a socket", errno);
    if (const int error = connect_within_patience(fd.get(), address, length); error != 0)
        return fail(ErrorKind::Connection, std::strerror(error));
    const int on = 1; // fails on a UNIX socket, which needs it not
    setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

Result<UniqueFd> connect_by_path(const MonitorEndpoint& endpoint)
{
    const auto where = unix_address(endpoint);
    if (!where)
        return std::unexpected(where.error());
    return connect_to_address(AF_UNIX, where->get(), where->length);
}

Result<UniqueFd> connect_by_name(const MonitorEndpoint& endpoint)
{
    if (const auto port = port_number(endpoint); !port)
        return std::unexpected(port.error());
    addrinfo hints = {};
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* list = nullptr;
    const char* host = endpoint.host.empty() ? "localhost" : endpoint.host.c_str();
    const int status = getaddrinfo(host, endpoint.port.c_str(), &hints, &list);
    if (status != 0)
        return fail(ErrorKind::Connection, gai_strerror(status));
    const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner(list, freeaddrinfo);
    Result<UniqueFd> fd = fail(ErrorKind::System, "no address");
    for (const addrinfo* address = list; address && !fd; address = address->ai_next)
        fd = connect_to_address(address->ai_family, address->ai_addr, address->ai_addrlen);
    return fd;
}

} // namespace

Result<UniqueFd> connect_to_endpoint(const MonitorEndpoint& endpoint)
{
    auto fd = endpoint.kind == MonitorEndpoint::Kind::UnixConnect ? connect_by_path(endpoint)
                                                                  : connect_by_name(endpoint);
    if (!fd && fd.error().kind != ErrorKind::Invalid)
        return std::unexpected(std::move(fd.error()).in("connecting to " + describe(endpoint)));
    return fd;
}

} // namespace drover
