// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/doors/dial.h"

#include "contrib/balancer/doors/address.h"
#include "contrib/balancer/doors/tls_handshake.h"
#include "contrib/balancer/doors/tls_pump.h"
#include "monitor/endpoint_socket.h"
#include "util/clock.h"
#include "util/loop.h"

#include <array>

namespace drover::balancer {

struct Dialling::State : public std::enable_shared_from_this<State> {
    DoorAddress address;
    std::string text;
    std::shared_ptr<TlsIdentity> identity;
    Done done; // null: over
    TimePoint deadline;
    loop::Source timer;
    std::unique_ptr<EndpointConnecting> connecting;
    std::unique_ptr<TlsHandshake> handshake;
    Ref<GTlsConnection> connection;
    Ref<GCancellable> cancellable{g_cancellable_new()};
    std::array<char, 16U << 10> first = {}; // what the server says at once

    ~State()
    {
        if (connection)
            hang_up(connection.get());
    }

    void begin(std::chrono::milliseconds limit);
    void connect();
    void connected(Result<UniqueFd> fd);
    void shaken(Result<TlsPeer> peer);
    void heard(GAsyncResult* result);
    void fail_later(Error why);
    void stop();
    void end(Result<UniqueFd> result);
    [[nodiscard]] Error explain(Error why) const
    {
        return std::move(why).in("connecting to " + text);
    }
};

void Dialling::State::begin(std::chrono::milliseconds limit)
{
    deadline = Clock::now() + limit;
    timer = loop::after(limit, [weak = weak_from_this()] {
        if (const auto self = weak.lock())
            self->end(
                std::unexpected(self->explain({ErrorKind::Connection, "no answer in time",
                                               "check that the daemon runs, and the firewall"})));
    });
    auto parsed = parse_door_address(text);
    if (!parsed)
        return fail_later(std::move(parsed.error()));
    address = std::move(*parsed);
    if (address.tls && !identity)
        return fail_later({ErrorKind::Invalid, text + " takes certificates, and none are given",
                           "give the authority's, our own, and its key"});
    if (address.tls && address.host.empty())
        return fail_later({ErrorKind::Invalid, text + " names no host", "write tls:HOST:PORT"});
    // A server would only say "bad certificate".
    if (Status dates = address.tls ? identity->check_dates() : Status{}; !dates)
        return fail_later(std::move(dates.error()));
    connect();
}

void Dialling::State::connect()
{
    connecting = std::make_unique<EndpointConnecting>(
        address.connecting(), [weak = weak_from_this()](Result<UniqueFd> fd) {
            if (const auto self = weak.lock())
                self->connected(std::move(fd));
        });
}

void Dialling::State::connected(Result<UniqueFd> fd)
{
    if (!fd || !address.tls)
        return end(std::move(fd));
    keep_alive(fd->get());
    auto material = identity->material();
    if (!material)
        return end(pass(material));
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
    handshake = TlsHandshake::call(std::move(*fd), address.host, std::move(*material),
                                   std::max(left, std::chrono::milliseconds(1)),
                                   [weak = weak_from_this()](Result<TlsPeer> peer) {
                                       if (const auto self = weak.lock())
                                           self->shaken(std::move(peer));
                                   });
}

void Dialling::State::shaken(Result<TlsPeer> peer)
{
    if (!peer)
        return end(std::unexpected(explain(std::move(peer.error()))));
    connection = std::move(peer->connection);
    const auto on_read = [](GObject*, GAsyncResult* result, gpointer data) {
        const std::unique_ptr<std::shared_ptr<State>> owner(
            static_cast<std::shared_ptr<State>*>(data));
        (*owner)->heard(result);
    };
    g_input_stream_read_async(g_io_stream_get_input_stream(G_IO_STREAM(connection.get())),
                              first.data(), first.size(), G_PRIORITY_DEFAULT, cancellable.get(),
                              on_read, new std::shared_ptr<State>(shared_from_this()));
}

void Dialling::State::heard(GAsyncResult* result)
{
    GInputStream* input = g_io_stream_get_input_stream(G_IO_STREAM(connection.get()));
    GError* error = nullptr;
    const gssize n = g_input_stream_read_finish(input, result, &error);
    if (n > 0 && done)
        return end(
            pump_tls(std::move(connection), std::string(first.data(), static_cast<size_t>(n))));
    if (n < 0 && done) {
        Error why = explain(take_gerror(error, "TLS: the server closed the door"));
        why.hint = "it may have refused our certificate; its log says why";
        return end(std::unexpected(std::move(why)));
    }
    g_clear_error(&error);
    end(std::unexpected(explain({ErrorKind::Connection, "the server closed the door at once",
                                 "it may have too many clients; its log says why"})));
}

void Dialling::State::fail_later(Error why)
{
    loop::post(
        [self = shared_from_this(), why = std::move(why)] { self->end(std::unexpected(why)); });
}

void Dialling::State::stop()
{
    done = nullptr;
    timer.reset();
    g_cancellable_cancel(cancellable.get());
    handshake.reset();
    connecting.reset();
}

void Dialling::State::end(Result<UniqueFd> result)
{
    const auto self = shared_from_this();
    const Done call = std::exchange(done, nullptr);
    if (!call)
        return;
    stop();
    call(std::move(result));
}

Dialling::Dialling(const std::string& address, std::shared_ptr<TlsIdentity> identity, Done done,
                   std::chrono::milliseconds limit)
    : state_(std::make_shared<State>())
{
    state_->text = address;
    state_->identity = std::move(identity);
    state_->done = std::move(done);
    state_->begin(limit);
}

Dialling::~Dialling()
{
    state_->stop();
}

} // namespace drover::balancer
