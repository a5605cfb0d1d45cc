// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/doors/tls_identity.h"
#include "util/fd.h"

#include <chrono>
#include <functional>
#include <memory>
#include <string>

namespace drover::balancer {

/// Connects to a daemon's door without blocking. The result is a socket for QmpClient; of a tls:
/// door it is one end of a socket pair whose bytes are pumped, for as long as it is open, by the
/// loop. Destroying this cancels; what was handed over stays. Loop thread only.
class Dialling {
public:
    using Done = std::function<void(Result<UniqueFd>)>;
    static constexpr std::chrono::seconds default_limit{10};

    /// `address` is "unix:PATH" or "tls:HOST:PORT". `identity` may be null for unix:. `done` is
    /// called once, from the loop, after at most `limit`, unless this is destroyed before.
    ///
    /// A tls: door counts as reached when its first byte came (QMP's server speaks first): a server
    /// looks at the client's certificate after the client's part of the handshake has ended, and so
    /// its refusal is told as one.
    Dialling(const std::string& address, std::shared_ptr<TlsIdentity> identity, Done done,
             std::chrono::milliseconds limit = default_limit);
    ~Dialling();
    Dialling(const Dialling&) = delete;
    Dialling& operator=(const Dialling&) = delete;

    struct State;

private:
    std::shared_ptr<State> state_;
};

} // namespace drover::balancer
