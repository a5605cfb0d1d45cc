// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/doors/tls_identity.h"
#include "util/fd.h"

#include <chrono>
#include <functional>
#include <memory>

namespace drover::balancer {

/// A TCP connection that notices within 30 seconds that its peer has silently gone, and that is
/// given up if the peer takes nothing for so long. No effect on a UNIX socket.
void keep_alive(int fd);

/// A TLS connection whose peer has been verified: authority, dates, purpose, and at the client the
/// name of the host.
struct TlsPeer {
    Ref<GTlsConnection> connection;
    std::string subject; ///< of its certificate, RFC 4514
};

/// The handshake of one connection, TLS 1.2 or later, without blocking the loop. Destroying it
/// cancels. Loop thread only.
class TlsHandshake {
public:
    /// Called once, from the loop, unless the handshake is destroyed before.
    using Done = std::function<void(Result<TlsPeer>)>;

    /// `tcp` is connected, and taken over. At most `limit` for all.
    [[nodiscard]] static std::unique_ptr<TlsHandshake>
    serve(UniqueFd tcp, TlsMaterial material, std::chrono::milliseconds limit, Done done);
    /// `host` must be among the names or addresses of the peer's certificate.
    [[nodiscard]] static std::unique_ptr<TlsHandshake> call(UniqueFd tcp, const std::string& host,
                                                            TlsMaterial material,
                                                            std::chrono::milliseconds limit,
                                                            Done done);
    ~TlsHandshake();
    TlsHandshake(const TlsHandshake&) = delete;
    TlsHandshake& operator=(const TlsHandshake&) = delete;

private:
    struct State;
    explicit TlsHandshake(Done done);
    void begin(UniqueFd tcp, const std::string* host, TlsMaterial material,
               std::chrono::milliseconds limit);

    std::shared_ptr<State> state_; // the thread may outlive us by a moment
};

/// Shuts the TCP socket below down: then GIO, which says goodbye when the last reference goes, can
/// not block on a peer that takes nothing.
void hang_up(GTlsConnection* connection);

} // namespace drover::balancer
