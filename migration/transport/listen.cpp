// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/transport/address.h"
#include "util/loop.h"

#include <cerrno>
#include <cstring>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

namespace drover {

namespace {

constexpr int migration_backlog = 128;
constexpr std::chrono::milliseconds out_of_descriptors_pause{100};

Error cannot_listen(const MigrationAddress& address, int errno_value)
{
    Error error = fail_errno("cannot listen on " + address.text(), errno_value).error();
    if (errno_value == EADDRINUSE)
        error.hint = "another process uses it; choose another address";
    return error;
}

/// The peer's address in words, numeric: no name is looked up.
std::string peer_text(int fd, const MigrationAddress& local)
{
    if (local.kind == MigrationAddress::Kind::Unix) {
        ucred who{};
        socklen_t size = sizeof who;
        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size) < 0)
            return local.text();
        return local.text() + " (process " + std::to_string(who.pid) + ")";
    }
    sockaddr_storage peer{};
    socklen_t size = sizeof peer;
    char host[NI_MAXHOST], port[NI_MAXSERV];
    auto* generic = reinterpret_cast<sockaddr*>(&peer);
    if (getpeername(fd, generic, &size) < 0 ||
        getnameinfo(generic, size, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        return "an unknown address";
    MigrationAddress address;
    address.host = strncmp(host, "::ffff:", 7) == 0 && strchr(host, '.') ? host + 7 : host;
    address.port = port;
    return address.text();
}

class Listener : public Listening {
public:
    using Accepted = std::function<void(UniqueFd, std::string)>;

    Listener(MigrationAddress address, std::vector<UniqueFd> sockets, Accepted accepted)
        : address_(std::move(address)), sockets_(std::move(sockets)), accepted_(std::move(accepted))
    {
        struct stat status {};
        if (address_.kind == MigrationAddress::Kind::Unix &&
            stat(address_.path.c_str(), &status) == 0) {
            path_device_ = status.st_dev;
            path_inode_ = status.st_ino;
        }
        arm();
    }
    ~Listener() override
    {
        struct stat status {};
        if (address_.kind == MigrationAddress::Kind::Unix &&
            stat(address_.path.c_str(), &status) == 0 && status.st_dev == path_device_ &&
            status.st_ino == path_inode_)
            unlink(address_.path.c_str());
    }
    MigrationAddress address() const override { return address_; }

private:
    void arm()
    {
        for (const UniqueFd& socket : sockets_)
            watches_.push_back(loop::watch(socket.get(), G_IO_IN,
                                           [this, fd = socket.get()](auto) { accept_one(fd); }));
    }

    void accept_one(int listening)
    {
        UniqueFd socket(accept4(listening, nullptr, nullptr, SOCK_CLOEXEC));
        if (!socket) {
            // Without descriptors the connection stays in the queue: looking again at once would
            // only spin. Other errors concern a peer that has already gone.
            if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
                watches_.clear();
                pause_ = loop::after(out_of_descriptors_pause, [this] { arm(); });
            }
            return;
        }
        prepare_socket(socket.get());
        const Accepted call = accepted_; // a copy: the call may destroy us
        std::string peer = peer_text(socket.get(), address_);
        call(std::move(socket), std::move(peer));
    }

    MigrationAddress address_;
    std::vector<UniqueFd> sockets_;
    Accepted accepted_;
    std::vector<loop::Source> watches_;
    loop::Source pause_;
    dev_t path_device_ = 0;
    ino_t path_inode_ = 0;
};

Result<UniqueFd> bind_and_listen(const MigrationAddress& address, const sockaddr* to,
                                 socklen_t size)
{
    UniqueFd socket(::socket(to->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    const int on = 1, off = 0;
    if (!socket)
        return std::unexpected(cannot_listen(address, errno));
    if (to->sa_family != AF_UNIX)
        setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (to->sa_family == AF_INET6)
        // "Every interface" means both families; ::1 next to 127.0.0.1 is not affected.
        setsockopt(socket.get(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    if (bind(socket.get(), to, size) < 0 || listen(socket.get(), migration_backlog) < 0)
        return std::unexpected(cannot_listen(address, errno));
    return socket;
}

/// Whether the path is a socket on which nobody listens any more.
bool is_left_behind(const sockaddr_un& name)
{
    struct stat status {};
    if (lstat(name.sun_path, &status) < 0 || !S_ISSOCK(status.st_mode))
        return false;
    const UniqueFd probe(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    return connect(probe.get(), reinterpret_cast<const sockaddr*>(&name), sizeof name) < 0 &&
           errno == ECONNREFUSED;
}

Result<std::vector<UniqueFd>> listen_unix(const MigrationAddress& address)
{
    sockaddr_un name{};
    name.sun_family = AF_UNIX;
    if (address.path.size() >= sizeof name.sun_path)
        return std::unexpected(cannot_listen(address, ENAMETOOLONG));
    memcpy(name.sun_path, address.path.data(), address.path.size());
    if (is_left_behind(name))
        unlink(name.sun_path);
    auto socket = bind_and_listen(address, reinterpret_cast<sockaddr*>(&name), sizeof name);
    if (!socket)
        return pass(socket);
    std::vector<UniqueFd> sockets;
    sockets.push_back(std::move(*socket));
    return sockets;
}

std::string local_port(int fd)
{
    sockaddr_storage local{};
    socklen_t size = sizeof local;
    char port[NI_MAXSERV] = "0";
    auto* generic = reinterpret_cast<sockaddr*>(&local);
    if (getsockname(fd, generic, &size) == 0)
        getnameinfo(generic, size, nullptr, 0, port, sizeof port, NI_NUMERICSERV);
    return port;
}

struct FreeAddresses {
    void operator()(addrinfo* list) const { freeaddrinfo(list); }
};
using Addresses = std::unique_ptr<addrinfo, FreeAddresses>;

Result<Addresses> resolve(const MigrationAddress& address)
{
    addrinfo hints{};
    hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* list = nullptr;
    const char* host = address.host.empty() ? nullptr : address.host.c_str();
    if (const int code = getaddrinfo(host, address.port.c_str(), &hints, &list); code != 0)
        return fail(ErrorKind::Invalid,
                    "cannot listen on " + address.text() + ": " + gai_strerror(code),
                    "use an address of this host, or 0 for all of them");
    return Addresses(list);
}

/// Every interface: one socket of both families; IPv4 alone where the kernel has no IPv6.
Result<std::vector<UniqueFd>> listen_everywhere(const MigrationAddress& address)
{
    sockaddr_in6 any{};
    any.sin6_family = AF_INET6;
    any.sin6_port = htons(address.port_number());
    sockaddr_in any4{};
    any4.sin_family = AF_INET;
    any4.sin_port = any.sin6_port;
    const UniqueFd probe(socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
    auto socket = bind_and_listen(address, reinterpret_cast<sockaddr*>(&any), sizeof any);
    if (!socket && !probe)
        socket = bind_and_listen(address, reinterpret_cast<sockaddr*>(&any4), sizeof any4);
    if (!socket)
        return pass(socket);
    std::vector<UniqueFd> sockets;
    sockets.push_back(std::move(*socket));
    return sockets;
}

/// All addresses of the host's name (localhost has two), on the same port.
Result<std::vector<UniqueFd>> listen_tcp(MigrationAddress address)
{
    auto addresses = resolve(address);
    if (!addresses)
        return pass(addresses);
    std::vector<UniqueFd> sockets;
    Error why;
    for (const addrinfo* info = addresses->get(); info; info = info->ai_next) {
        const auto port = htons(address.port_number());
        if (info->ai_family == AF_INET)
            reinterpret_cast<sockaddr_in*>(info->ai_addr)->sin_port = port;
        else if (info->ai_family == AF_INET6)
            reinterpret_cast<sockaddr_in6*>(info->ai_addr)->sin6_port = port;
        auto socket = bind_and_listen(address, info->ai_addr, info->ai_addrlen);
        if (!socket) {
            why = std::move(socket.error());
            continue;
        }
        address.port = local_port(socket->get());
        sockets.push_back(std::move(*socket));
    }
    if (sockets.empty())
        return std::unexpected(std::move(why));
    return sockets;
}

/// The first port of the range that is free.
Result<std::vector<UniqueFd>> listen_in_range(MigrationAddress address)
{
    for (unsigned port = address.port_number();; ++port) {
        address.port = std::to_string(port);
        auto sockets = address.host.empty() ? listen_everywhere(address) : listen_tcp(address);
        if (sockets || port >= address.last_port)
            return sockets;
    }
}

Result<std::vector<UniqueFd>> open_sockets(const MigrationAddress& address)
{
    switch (address.kind) {
    case MigrationAddress::Kind::Unix: return listen_unix(address);
    case MigrationAddress::Kind::Tcp: return listen_in_range(address);
    case MigrationAddress::Kind::Fd: break;
    }
    return fail(ErrorKind::Invalid, address.text() + " is not an address to listen on");
}

} // namespace

Result<std::unique_ptr<Listening>> listen_on(const MigrationAddress& address,
                                             std::function<void(UniqueFd, std::string)> accepted)
{
    auto sockets = open_sockets(address);
    if (!sockets)
        return pass(sockets);
    MigrationAddress real = address;
    if (real.kind == MigrationAddress::Kind::Tcp)
        real.port = local_port(sockets->front().get());
    return std::make_unique<Listener>(std::move(real), std::move(*sockets), std::move(accepted));
}

} // namespace drover
