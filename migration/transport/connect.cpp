// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/transport/address.h"
#include "util/defect.h"
#include "util/gref.h"
#include "util/loop.h"

#include <cerrno>
#include <fcntl.h>
#include <fstream>
#include <gio/gio.h>
#include <gio/gunixsocketaddress.h>
#include <linux/tcp.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>

namespace drover {

namespace {

/// Shared by the handle that the caller holds, GIO's callback and the timer: whoever comes first
/// takes `done`, the others find it empty.
struct Attempt {
    std::function<void(Result<UniqueFd>)> done;
    std::string target;
    GRef<GCancellable> cancel{g_cancellable_new()};
    loop::Source timer;

    void finish(Result<UniqueFd> result)
    {
        timer.reset();
        if (auto call = std::exchange(done, nullptr)) // we may have been called by GIO
            defects::contain([&] { call(std::move(result)); });
    }
};

class ConnectingImpl : public Connecting {
public:
    explicit ConnectingImpl(std::shared_ptr<Attempt> attempt) : attempt_(std::move(attempt)) {}
    ~ConnectingImpl() override
    {
        attempt_->done = nullptr;
        attempt_->timer.reset();
        g_cancellable_cancel(attempt_->cancel.get());
    }

private:
    std::shared_ptr<Attempt> attempt_;
};

Error cannot_connect(const std::string& target, const std::string& reason)
{
    return {ErrorKind::Connection, "cannot connect to " + target + ": " + reason,
            "check that the destination runs, listens there (-incoming) and that no firewall is "
            "between"};
}

Result<UniqueFd> take_socket(GSocketConnection& connection)
{
    // GIO closes its own descriptor with its object; ours is a second one of the same socket.
    const int borrowed = g_socket_get_fd(g_socket_connection_get_socket(&connection));
    UniqueFd socket(fcntl(borrowed, F_DUPFD_CLOEXEC, 0));
    if (!socket)
        return fail_errno("duplicating a file descriptor", errno);
    prepare_socket(socket.get());
    return socket;
}

void connected(GObject* client, GAsyncResult* result, gpointer data)
{
    const std::unique_ptr<std::shared_ptr<Attempt>> attempt(
        static_cast<std::shared_ptr<Attempt>*>(data));
    GError* error = nullptr;
    const GRef<GSocketConnection> connection(
        g_socket_client_connect_finish(G_SOCKET_CLIENT(client), result, &error));
    if (connection) {
        (*attempt)->finish(take_socket(*connection));
        return;
    }
    const std::string reason = error->message;
    g_error_free(error);
    (*attempt)->finish(std::unexpected(cannot_connect((*attempt)->target, reason)));
}

GRef<GSocketConnectable> connectable(const MigrationAddress& address)
{
    if (address.kind == MigrationAddress::Kind::Unix)
        return GRef<GSocketConnectable>(
            G_SOCKET_CONNECTABLE(g_unix_socket_address_new(address.path.c_str())));
    const uint16_t port = address.port_number();
    if (address.host.empty())
        return GRef<GSocketConnectable>(g_network_address_new_loopback(port));
    return GRef<GSocketConnectable>(g_network_address_new(address.host.c_str(), port));
}

} // namespace

void prepare_socket(int fd)
{
    static_cast<void>(set_close_on_exec(fd, true));
    static_cast<void>(set_nonblocking(fd, false));
    // On a UNIX socket the rest fails, harmlessly. Keep-alive finds a dead host in about 25 s; the
    // session's own pings are faster.
    const int on = 1, idle_s = 10, interval_s = 5, probes = 3;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof idle_s);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof interval_s);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
    // What waits in the kernel to be sent is out of date when it is, makes the last round wait, and
    // is lost with the link: megabytes, which a slow link takes seconds for. What is on its way
    // already does not count.
    const int most_unsent = 512 << 10;
    setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &most_unsent, sizeof most_unsent);
}

Status set_tcp_congestion(int fd, const std::string& name)
{
    if (name.empty() || setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name.data(),
                                   static_cast<socklen_t>(name.size())) == 0)
        return {};
    const int reason = errno;
    if (reason == ENOPROTOOPT || reason == EOPNOTSUPP) // a UNIX socket has none
        return {};
    std::ifstream file("/proc/sys/net/ipv4/tcp_available_congestion_control");
    std::string available;
    std::getline(file, available);
    const bool forbidden = reason == EPERM;
    return fail(ErrorKind::System,
                "the kernel " + std::string(forbidden ? "does not permit" : "does not have") +
                    " the TCP congestion control '" + name + "'; there are: " + available,
                forbidden ? "the sysctl net.ipv4.tcp_allowed_congestion_control may name it"
                          : "modprobe tcp_" + name + ", or leave the policy's tcp-congestion away");
}

std::optional<MigrationAddress> peer_address(int fd)
{
    sockaddr_storage storage{};
    auto* name = reinterpret_cast<sockaddr*>(&storage);
    socklen_t size = sizeof storage;
    char host[NI_MAXHOST];
    char port[NI_MAXSERV];
    if (getpeername(fd, name, &size) < 0 ||
        (name->sa_family != AF_INET && name->sa_family != AF_INET6) ||
        getnameinfo(name, size, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        return std::nullopt;
    MigrationAddress address;
    address.host = host;
    address.port = port;
    return address;
}

std::unique_ptr<Connecting> connect_to(const MigrationAddress& address,
                                       std::function<void(Result<UniqueFd>)> done,
                                       std::chrono::milliseconds timeout)
{
    auto attempt = std::make_shared<Attempt>();
    attempt->done = std::move(done);
    attempt->target = address.text();
    auto handle = std::make_unique<ConnectingImpl>(attempt);
    if (address.kind == MigrationAddress::Kind::Fd) {
        loop::post([attempt] {
            attempt->finish(
                fail(ErrorKind::Invalid, attempt->target + " is not an address to connect to"));
        });
        return handle;
    }
    attempt->timer = loop::after(timeout, [weak = std::weak_ptr(attempt)] {
        if (auto late = weak.lock()) {
            g_cancellable_cancel(late->cancel.get());
            late->finish(std::unexpected(cannot_connect(late->target, "nobody answers")));
        }
    });
    const GRef<GSocketClient> client(g_socket_client_new());
    g_socket_client_set_enable_proxy(client.get(), FALSE);
    g_socket_client_connect_async(client.get(), connectable(address).get(), attempt->cancel.get(),
                                  connected, new std::shared_ptr<Attempt>(attempt));
    return handle;
}

} // namespace drover
