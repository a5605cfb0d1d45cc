// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/transport/tls_handshake.h"

#include "migration/transport/tls_session.h"
#include "util/loop.h"

namespace drover {

namespace {

class TlsHandshakeImpl : public TlsHandshake {
public:
    TlsHandshakeImpl(UniqueFd socket, SharedTlsCredentials credentials,
                     std::chrono::milliseconds timeout, std::function<void(Result<Socket>)> done)
        : socket_(std::move(socket)), done_(std::move(done))
    {
        auto session = TlsSession::begin(socket_.get(), std::move(credentials));
        if (!session) {
            now_ = loop::after(std::chrono::milliseconds(0),
                               [this, error = session.error()] { finish(std::unexpected(error)); });
            return;
        }
        session_ = std::move(*session);
        timer_ = loop::after(timeout, [this] {
            finish(fail(ErrorKind::Connection, "the TLS handshake was not done in time",
                        "the other side may have no TLS: both need tls-creds, or neither"));
        });
        now_ = loop::after(std::chrono::milliseconds(0), [this] { go_on(); });
    }

private:
    void go_on()
    {
        watch_.reset();
        auto step = session_->shake_hands();
        if (!step)
            return finish(pass(step));
        if (*step == TlsSession::Step::Done)
            return finish(Socket(std::move(socket_), std::move(session_)));
        watch_ = loop::watch(socket_.get(), *step == TlsSession::Step::Receive ? G_IO_IN : G_IO_OUT,
                             [this](auto) { go_on(); });
    }

    /// The last thing done here: the call may destroy us.
    void finish(Result<Socket> result)
    {
        watch_.reset();
        timer_.reset();
        session_.reset();
        socket_.reset();
        const auto call = std::move(done_);
        call(std::move(result));
    }

    UniqueFd socket_;
    std::unique_ptr<TlsSession> session_;
    std::function<void(Result<Socket>)> done_;
    loop::Source now_, watch_, timer_;
};

/// First the connection, then the handshake.
class Calling : public Connecting {
public:
    Calling(const MigrationPeer& peer, std::function<void(Result<Socket>)> done,
            std::chrono::milliseconds timeout)
        : tls_(peer.tls), congestion_(peer.tcp_congestion), done_(std::move(done)),
          timeout_(timeout)
    {
        connecting_ = connect_to(
            peer.address, [this](Result<UniqueFd> socket) { connected(std::move(socket)); },
            timeout);
    }

private:
    void connected(Result<UniqueFd> socket)
    {
        if (!socket)
            return finish(pass(socket));
        if (Status set = set_tcp_congestion(socket->get(), congestion_); !set)
            return finish(pass(set));
        if (!tls_)
            return finish(Socket(std::move(*socket)));
        handshake_ = shake_hands(std::move(*socket), tls_, timeout_,
                                 [this](Result<Socket> result) { finish(std::move(result)); });
    }

    /// The last thing done here: the call may destroy us.
    void finish(Result<Socket> result)
    {
        const auto call = std::move(done_);
        call(std::move(result));
    }

    SharedTlsCredentials tls_;
    std::string congestion_;
    std::function<void(Result<Socket>)> done_;
    std::chrono::milliseconds timeout_;
    std::unique_ptr<Connecting> connecting_;
    std::unique_ptr<TlsHandshake> handshake_;
};

} // namespace

std::unique_ptr<TlsHandshake> shake_hands(UniqueFd socket, SharedTlsCredentials credentials,
                                          std::chrono::milliseconds timeout,
                                          std::function<void(Result<Socket>)> done)
{
    return std::make_unique<TlsHandshakeImpl>(std::move(socket), std::move(credentials), timeout,
                                              std::move(done));
}

std::unique_ptr<Connecting> call(const MigrationPeer& peer,
                                 std::function<void(Result<Socket>)> done,
                                 std::chrono::milliseconds timeout)
{
    return std::make_unique<Calling>(peer, std::move(done), timeout);
}

} // namespace drover
