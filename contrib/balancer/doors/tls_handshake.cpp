// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/doors/tls_handshake.h"

#include "contrib/balancer/doors/key_purpose.h"
#include "util/loop.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

namespace drover::balancer {

namespace {

void set_option(int fd, int level, int option, int value)
{
    setsockopt(fd, level, option, &value, sizeof value);
}

/// What the library found wrong with the peer's certificate.
std::string describe(GTlsCertificateFlags flags)
{
    static constexpr std::pair<GTlsCertificateFlags, const char*> meanings[] = {
        {G_TLS_CERTIFICATE_UNKNOWN_CA, "it is not of our fleet's authority"},
        {G_TLS_CERTIFICATE_BAD_IDENTITY, "it is not for this host name"},
        {G_TLS_CERTIFICATE_NOT_ACTIVATED, "it is not valid yet"},
        {G_TLS_CERTIFICATE_EXPIRED, "it has expired"},
        {G_TLS_CERTIFICATE_REVOKED, "it was revoked"},
        {G_TLS_CERTIFICATE_INSECURE, "its algorithm is too weak"},
        {G_TLS_CERTIFICATE_GENERIC_ERROR, "it cannot be verified"}};
    std::string text;
    for (const auto& [flag, meaning] : meanings) {
        if ((flags & flag) != 0)
            text += (text.empty() ? "" : ", ") + std::string(meaning);
    }
    return text;
}

Error explain(GTlsConnection* connection, GError* error)
{
    const std::string flaws = describe(g_tls_connection_get_peer_certificate_errors(connection));
    if (flaws.empty())
        return take_gerror(error, "TLS");
    g_error_free(error);
    return {ErrorKind::Refused, "TLS: the peer's certificate is refused: " + flaws, {}};
}

std::string subject_of(GTlsCertificate* certificate)
{
    char* text = g_tls_certificate_get_subject_name(certificate);
    std::string subject = text ? text : "";
    g_free(text);
    return subject;
}

/// What GIO does not look at.
Result<std::string> inspect(GTlsConnection* connection, bool peer_serves)
{
    const auto version = g_tls_connection_get_protocol_version(connection);
    if (version != G_TLS_PROTOCOL_VERSION_TLS_1_2 && version != G_TLS_PROTOCOL_VERSION_TLS_1_3)
        return fail(ErrorKind::Refused, "TLS: the peer speaks a version before 1.2");
    GTlsCertificate* certificate = g_tls_connection_get_peer_certificate(connection);
    if (!certificate)
        return fail(ErrorKind::Refused, "TLS: the peer has shown no certificate");
    if (!has_purpose(certificate, peer_serves ? KeyPurpose::Server : KeyPurpose::Client))
        return fail(ErrorKind::Refused,
                    std::string("TLS: the peer's certificate is refused: it is not for ") +
                        (peer_serves ? "a host (no purpose serverAuth)"
                                     : "a client (no purpose clientAuth)"),
                    "make it with drover-certs");
    return subject_of(certificate);
}

Result<Ref<GSocketConnection>> wrap(UniqueFd tcp)
{
    GError* error = nullptr;
    GSocket* socket = g_socket_new_from_fd(tcp.get(), &error);
    if (!socket)
        return std::unexpected(take_gerror(error, "TLS"));
    (void)tcp.release();
    const Ref<GSocket> owner(socket);
    return Ref<GSocketConnection>(g_socket_connection_factory_create_connection(socket));
}

gboolean accept_flawless(GTlsConnection*, GTlsCertificate*, GTlsCertificateFlags flaws, gpointer)
{
    return flaws == 0 ? TRUE : FALSE;
}

Result<Ref<GTlsConnection>> make_connection(UniqueFd tcp, const std::string* host)
{
    const auto base = wrap(std::move(tcp));
    if (!base)
        return std::unexpected(base.error());
    GError* error = nullptr;
    GIOStream* tls = nullptr;
    if (host) {
        const Ref<GSocketConnectable> name(g_network_address_new(host->c_str(), 0));
        tls = g_tls_client_connection_new(G_IO_STREAM(base->get()), name.get(), &error);
    } else {
        tls = g_tls_server_connection_new(G_IO_STREAM(base->get()), nullptr, &error);
    }
    if (!tls) {
        Error why = take_gerror(error, "TLS", ErrorKind::System);
        why.hint = "install the package glib-networking";
        return std::unexpected(std::move(why));
    }
    if (!host) {
        g_object_set(tls, "authentication-mode", G_TLS_AUTHENTICATION_REQUIRED, nullptr);
        // GIO's servers take nobody unless somebody answers this.
        g_signal_connect(tls, "accept-certificate", G_CALLBACK(accept_flawless), nullptr);
    }
    return Ref<GTlsConnection>(G_TLS_CONNECTION(tls));
}

} // namespace

void keep_alive(int fd)
{
    set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, 10); // seconds of silence
    set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, 5);
    set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, 4);
    set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, 30'000); // ms that sent data may wait
}

void hang_up(GTlsConnection* connection)
{
    GIOStream* base = nullptr;
    g_object_get(connection, "base-io-stream", &base, nullptr);
    if (!base)
        return;
    const Ref<GIOStream> owner(base);
    ::shutdown(g_socket_get_fd(g_socket_connection_get_socket(G_SOCKET_CONNECTION(base))),
               SHUT_RDWR);
}

struct TlsHandshake::State {
    Done done; // null: nobody is to be told any more
    bool peer_serves = false;
    Ref<GTlsConnection> connection;
    Ref<GCancellable> cancellable{g_cancellable_new()};
    loop::Source timer;

    ~State()
    {
        if (connection)
            hang_up(connection.get());
    }

    void give_up()
    {
        timer.reset();
        done = nullptr;
        g_cancellable_cancel(cancellable.get());
        if (connection)
            hang_up(connection.get());
    }

    void end(Result<TlsPeer> result)
    {
        timer.reset();
        if (const Done call = std::exchange(done, nullptr))
            call(std::move(result));
    }

    void finish(GAsyncResult* result)
    {
        GError* error = nullptr;
        if (!g_tls_connection_handshake_finish(connection.get(), result, &error))
            return end(std::unexpected(explain(connection.get(), error)));
        auto subject = inspect(connection.get(), peer_serves);
        if (!subject)
            return end(pass(subject));
        if (done)
            end(TlsPeer{std::move(connection), std::move(*subject)});
    }
};

TlsHandshake::TlsHandshake(Done done) : state_(std::make_shared<State>())
{
    state_->done = std::move(done);
}

TlsHandshake::~TlsHandshake()
{
    state_->give_up();
}

std::unique_ptr<TlsHandshake> TlsHandshake::serve(UniqueFd tcp, TlsMaterial material,
                                                  std::chrono::milliseconds limit, Done done)
{
    std::unique_ptr<TlsHandshake> self(new TlsHandshake(std::move(done)));
    self->begin(std::move(tcp), nullptr, std::move(material), limit);
    return self;
}

std::unique_ptr<TlsHandshake> TlsHandshake::call(UniqueFd tcp, const std::string& host,
                                                 TlsMaterial material,
                                                 std::chrono::milliseconds limit, Done done)
{
    std::unique_ptr<TlsHandshake> self(new TlsHandshake(std::move(done)));
    self->begin(std::move(tcp), &host, std::move(material), limit);
    return self;
}

void TlsHandshake::begin(UniqueFd tcp, const std::string* host, TlsMaterial material,
                         std::chrono::milliseconds limit)
{
    const auto state = state_;
    state->peer_serves = host != nullptr;
    auto connection = make_connection(std::move(tcp), host);
    if (!connection) {
        loop::post([state, why = connection.error()] { state->end(std::unexpected(why)); });
        return;
    }
    state->connection = std::move(*connection);
    GTlsConnection* tls = state->connection.get();
    const auto finished = [](GObject*, GAsyncResult* result, gpointer data) {
        const std::unique_ptr<std::shared_ptr<State>> owner(
            static_cast<std::shared_ptr<State>*>(data));
        (*owner)->finish(result);
    };
    g_tls_connection_set_database(tls, material.authority.get());
    if (material.certificate)
        g_tls_connection_set_certificate(tls, material.certificate.get());
    state->timer = loop::after(limit, [weak = std::weak_ptr(state)] {
        const auto self = weak.lock();
        if (!self)
            return;
        const Done call = std::exchange(self->done, nullptr);
        self->give_up();
        call(fail(ErrorKind::Connection, "TLS: the peer did not finish the handshake in time"));
    });
    // Each takes one of the few threads that GIO has for all (10, and another each 0.1 s that they
    // are busy), so those who answer go before those who call: hosts that hang hold up no client.
    g_tls_connection_handshake_async(tls, host ? G_PRIORITY_DEFAULT : G_PRIORITY_HIGH,
                                     state->cancellable.get(), finished,
                                     new std::shared_ptr<State>(state));
}

} // namespace drover::balancer
