// SPDX-License-Identifier: GPL-2.0-or-later
#include "monitor/endpoint_socket.h"

#include "util/defect.h"
#include "util/gref.h"
#include "util/loop.h"

#include <algorithm>
#include <fcntl.h>
#include <gio/gio.h>
#include <gio/gunixsocketaddress.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

namespace drover {

namespace {

constexpr guint connect_timeout_s = 30;

Error take_error(GError* error, const MonitorEndpoint& endpoint)
{
    Error taken{
        ErrorKind::Connection, "connecting to " + describe(endpoint) + ": " + error->message, {}};
    std::replace(taken.message.begin(), taken.message.end(), '\n', ' ');
    g_error_free(error);
    return taken;
}

Result<GRef<GSocketConnectable>> connectable_of(const MonitorEndpoint& endpoint)
{
    if (endpoint.kind == MonitorEndpoint::Kind::UnixConnect) {
        if (endpoint.path.empty() || endpoint.path.size() > 107)
            return fail(ErrorKind::Invalid,
                        "'" + endpoint.path + "' cannot be the path of a UNIX socket",
                        "it must have 1 to 107 bytes");
        const GUnixSocketAddressType type = !endpoint.abstract ? G_UNIX_SOCKET_ADDRESS_PATH
                                            : endpoint.padded
                                                ? G_UNIX_SOCKET_ADDRESS_ABSTRACT_PADDED
                                                : G_UNIX_SOCKET_ADDRESS_ABSTRACT;
        return GRef<GSocketConnectable>(G_SOCKET_CONNECTABLE(g_unix_socket_address_new_with_type(
            endpoint.path.c_str(), static_cast<gint>(endpoint.path.size()), type)));
    }
    const auto port = port_number(endpoint);
    if (!port)
        return std::unexpected(port.error());
    const char* host = endpoint.host.empty() ? "localhost" : endpoint.host.c_str();
    return GRef<GSocketConnectable>(g_network_address_new(host, *port));
}

GRef<GSocketClient> make_socket_client()
{
    GRef<GSocketClient> client(g_socket_client_new());
    g_socket_client_set_timeout(client.get(), connect_timeout_s);
    g_socket_client_set_enable_proxy(client.get(), FALSE); // a monitor is never behind one
    return client;
}

/// The connection's socket as a descriptor of its own.
Result<UniqueFd> detach(GSocketConnection* connection)
{
    const int fd = g_socket_get_fd(g_socket_connection_get_socket(connection));
    const int on = 1; // fails on a UNIX socket, which needs it not
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    const int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    g_object_unref(connection);
    if (copy < 0)
        return fail_errno("duplicating a file descriptor", errno);
    return UniqueFd(copy);
}

} // namespace

struct EndpointConnecting::State {
    MonitorEndpoint endpoint;
    std::function<void(Result<UniqueFd>)> done;
    GRef<GCancellable> cancellable{g_cancellable_new()};
    bool wanted = true;
};

namespace {

using SharedState = std::shared_ptr<EndpointConnecting::State>;

void on_connected(GObject* client, GAsyncResult* result, gpointer data)
{
    const std::unique_ptr<SharedState> state(static_cast<SharedState*>(data));
    GError* error = nullptr;
    GSocketConnection* connection =
        g_socket_client_connect_finish(G_SOCKET_CLIENT(client), result, &error);
    Result<UniqueFd> fd =
        connection ? detach(connection) : std::unexpected(take_error(error, (*state)->endpoint));
    if ((*state)->wanted)
        defects::contain([&] { (*state)->done(std::move(fd)); });
}

} // namespace

EndpointConnecting::EndpointConnecting(const MonitorEndpoint& endpoint,
                                       std::function<void(Result<UniqueFd>)> done)
    : state_(std::make_shared<State>())
{
    state_->endpoint = endpoint;
    state_->done = std::move(done);
    const auto address = connectable_of(endpoint);
    if (!address) {
        loop::post([state = state_, error = address.error()] {
            if (state->wanted)
                state->done(std::unexpected(error));
        });
        return;
    }
    g_socket_client_connect_async(make_socket_client().get(), address->get(),
                                  state_->cancellable.get(), on_connected, new SharedState(state_));
}

EndpointConnecting::~EndpointConnecting()
{
    state_->wanted = false;
    g_cancellable_cancel(state_->cancellable.get());
}

} // namespace drover
