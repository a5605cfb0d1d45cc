// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/transport/address.h"
#include "migration/transport/socket.h"
#include "migration/transport/tls_credentials.h"

#include <chrono>
#include <functional>
#include <memory>
#include <string>

namespace drover {

/// Who is called, or calls.
struct MigrationPeer {
    MigrationAddress address;
    SharedTlsCredentials tls; ///< null: in the clear
    std::string tcp_congestion =
        {}; ///< the kernel's name for what TCP is to do; empty: its default
};

/// A handshake over a connected socket, without blocking the loop. `done` is called once, never
/// from within the constructor, with the encrypted socket or why there is none; a peer that is slow
/// gets `timeout`. Destroying this drops the connection and never calls `done`, which may destroy
/// it. Loop thread only.
class TlsHandshake {
public:
    virtual ~TlsHandshake() = default;
};
[[nodiscard]] std::unique_ptr<TlsHandshake> shake_hands(UniqueFd socket,
                                                        SharedTlsCredentials credentials,
                                                        std::chrono::milliseconds timeout,
                                                        std::function<void(Result<Socket>)> done);

/// As connect_to(), and with the handshake, where one is wanted, which may take as long.
[[nodiscard]] std::unique_ptr<Connecting> call(const MigrationPeer& peer,
                                               std::function<void(Result<Socket>)> done,
                                               std::chrono::milliseconds timeout = connect_timeout);

} // namespace drover
