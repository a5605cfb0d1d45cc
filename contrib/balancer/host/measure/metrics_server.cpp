// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/host/measure/metrics_server.h"

#include "util/gref.h"
#include "util/log.h"
#include "util/loop.h"

#include <libsoup/soup.h>
#include <map>

namespace drover::balancer {

namespace {

std::string take_message(GError* error)
{
    std::string message = error ? error->message : "no reason given";
    g_clear_error(&error);
    return message;
}

void answer(SoupServerMessage* message, unsigned status, const char* type, const std::string& text)
{
    soup_server_message_set_status(message, status, nullptr);
    soup_server_message_set_response(message, type, SOUP_MEMORY_COPY, text.data(), text.size());
}

} // namespace

/// Accepts connections itself, so as to count them, and gives them to libsoup.
class MetricsServer::Impl {
public:
    explicit Impl(std::function<std::string()> page)
        : page_(std::move(page)), soup_(soup_server_new("server-header", "droverd", nullptr)),
          service_(g_socket_service_new())
    {
        soup_server_add_handler(soup_.get(), nullptr, on_request, this, nullptr);
        g_signal_connect(soup_.get(), "request-started", G_CALLBACK(on_started), nullptr);
        g_signal_connect(service_.get(), "incoming", G_CALLBACK(on_incoming), this);
    }

    ~Impl()
    {
        g_socket_service_stop(service_.get());
        g_socket_listener_close(G_SOCKET_LISTENER(service_.get()));
        g_signal_handlers_disconnect_by_data(service_.get(), this);
        soup_server_remove_handler(soup_.get(), nullptr);
        for (auto& [connection, timer] : open_) {
            g_object_weak_unref(G_OBJECT(connection), on_gone, this);
            hang_up(connection);
        }
        soup_server_disconnect(soup_.get());
    }

    Status listen(const std::string& address, uint16_t port)
    {
        const GRef<GInetAddress> ip(g_inet_address_new_from_string(address.c_str()));
        if (!ip)
            return fail(ErrorKind::Invalid, "metrics: '" + address + "' is no IP address",
                        "give one such as 127.0.0.1 or ::1");
        const GRef<GSocketAddress> wished(g_inet_socket_address_new(ip.get(), port));
        GSocketAddress* effective = nullptr;
        GError* error = nullptr;
        if (!g_socket_listener_add_address(G_SOCKET_LISTENER(service_.get()), wished.get(),
                                           G_SOCKET_TYPE_STREAM, G_SOCKET_PROTOCOL_TCP, nullptr,
                                           &effective, &error))
            return fail(ErrorKind::System,
                        "metrics: cannot listen on " + address + " port " + std::to_string(port) +
                            ": " + take_message(error),
                        "is another program there? give another port");
        const GRef<GSocketAddress> bound(effective);
        port_ = g_inet_socket_address_get_port(G_INET_SOCKET_ADDRESS(bound.get()));
        g_socket_service_start(service_.get());
        return {};
    }

    [[nodiscard]] uint16_t port() const { return port_; }
    [[nodiscard]] unsigned connections() const { return static_cast<unsigned>(open_.size()); }

private:
    static gboolean on_incoming(GSocketService*, GSocketConnection* connection, GObject*,
                                gpointer data)
    {
        static_cast<Impl*>(data)->accept(connection);
        return TRUE;
    }

    void accept(GSocketConnection* connection)
    {
        if (open_.size() >= max_connections)
            return hang_up(connection);
        const GRef<GSocketAddress> local(
            g_socket_connection_get_local_address(connection, nullptr));
        const GRef<GSocketAddress> remote(
            g_socket_connection_get_remote_address(connection, nullptr));
        if (!local || !remote)
            return hang_up(connection); // it has gone already
        g_object_weak_ref(G_OBJECT(connection), on_gone, this);
        open_[connection] =
            loop::after(std::chrono::seconds(max_seconds), [connection] { hang_up(connection); });
        GError* error = nullptr;
        if (!soup_server_accept_iostream(soup_.get(), G_IO_STREAM(connection), local.get(),
                                         remote.get(), &error))
            log::debug("metrics: " + take_message(error));
    }

    /// Both directions end; libsoup sees that and lets go of the connection.
    static void hang_up(GSocketConnection* connection)
    {
        g_socket_shutdown(g_socket_connection_get_socket(connection), TRUE, TRUE, nullptr);
    }

    static void on_gone(gpointer data, GObject* connection)
    {
        auto& open = static_cast<Impl*>(data)->open_;
        // Only its address is left of it.
        std::erase_if(open, [connection](const auto& entry) {
            return static_cast<void*>(entry.first) == static_cast<void*>(connection);
        });
    }

    static void on_started(SoupServer*, SoupServerMessage* message, gpointer)
    {
        // No page takes a body: what is sent as one is not kept.
        soup_message_body_set_accumulate(soup_server_message_get_request_body(message), FALSE);
    }

    static void on_request(SoupServer*, SoupServerMessage* message, const char* path, GHashTable*,
                           gpointer data)
    {
        SoupMessageHeaders* headers = soup_server_message_get_response_headers(message);
        soup_message_headers_replace(headers, "Connection", "close"); // one page, one connection
        const std::string_view method = soup_server_message_get_method(message);
        if (std::string_view(path) != "/metrics")
            return answer(message, SOUP_STATUS_NOT_FOUND, "text/plain", "only /metrics is here\n");
        if (method != "GET" && method != "HEAD") {
            soup_message_headers_replace(headers, "Allow", "GET, HEAD");
            return answer(message, SOUP_STATUS_METHOD_NOT_ALLOWED, "text/plain", "GET only\n");
        }
        answer(message, SOUP_STATUS_OK, "text/plain; version=0.0.4; charset=utf-8",
               static_cast<Impl*>(data)->page_());
    }

    std::function<std::string()> page_;
    GRef<SoupServer> soup_;
    GRef<GSocketService> service_;
    uint16_t port_ = 0;
    std::map<GSocketConnection*, loop::Source> open_; // with what ends it
};

Result<std::unique_ptr<MetricsServer>>
MetricsServer::start(const std::string& address, uint16_t port, std::function<std::string()> page)
{
    auto impl = std::make_unique<Impl>(std::move(page));
    auto status = impl->listen(address, port);
    if (!status)
        return std::unexpected(std::move(status.error()));
    return std::unique_ptr<MetricsServer>(new MetricsServer(std::move(impl)));
}

MetricsServer::MetricsServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
MetricsServer::~MetricsServer() = default;

uint16_t MetricsServer::port() const
{
    return impl_->port();
}

unsigned MetricsServer::connections() const
{
    return impl_->connections();
}

} // namespace drover::balancer
