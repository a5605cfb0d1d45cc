// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "monitor/qmp_client.h"
#include "util/loop.h"

#include <chrono>
#include <memory>
#include <string>

namespace drover::balancer {

/// Asks the other end of a QMP connection for signs of life, and gives it up after too many without
/// one: a stuck process keeps its sockets open, and a host that lost its power does not say so.
/// Loop thread only.
class Pulse {
public:
    struct Patience {
        std::chrono::milliseconds period{10'000};
        int most_unanswered = 3; ///< periods
    };

    /// `client` is negotiated, not owned, and outlives it. `command` is a cheap one that whoever is
    /// connected may send. `silent` is why the client is given up (QmpClient::give_up).
    Pulse(QmpClient& client, std::string command, Error silent, Patience patience);

private:
    void feel();

    QmpClient& client_;
    std::string command_;
    Error silent_;
    Patience patience_;
    std::shared_ptr<int> unanswered_ = std::make_shared<int>(0); // replies may outlive us
    loop::Source timer_;
};

} // namespace drover::balancer
