// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "monitor/endpoint_socket.h"
#include "monitor/qmp_client.h"
#include "util/loop.h"

#include <memory>
#include <string>

namespace drover::balancer {

/// The QMP connection to one emulator, made again whenever it breaks or is silent for too long.
/// Loop thread only. Callbacks may destroy it.
class EmulatorLink {
public:
    struct Callbacks {
        std::function<void()> up;   ///< negotiated: commands can be sent
        std::function<void()> down; ///< it broke; it is tried again
        std::function<void(const Json& event)> event;
    };

    /// It is asked for a sign of life each `period`, and given up after the limit: a stuck process
    /// keeps its sockets open.
    struct Patience {
        std::chrono::milliseconds period{10'000};
        int most_unanswered = 3;
    };

    EmulatorLink(std::string socket_path, Callbacks callbacks, Patience patience);
    EmulatorLink(std::string socket_path, Callbacks callbacks);

    /// Fails at once where the link is down.
    void execute(const std::string& command, Json arguments, QmpClient::Reply reply);

    [[nodiscard]] bool is_up() const { return up_; }
    [[nodiscard]] const std::string& socket_path() const { return path_; }

private:
    void connect();
    void connect_later();
    void negotiate(UniqueFd fd);
    void lost();
    void feel_pulse();

    std::string path_;
    Callbacks callbacks_;
    std::unique_ptr<EndpointConnecting> connecting_;
    std::unique_ptr<QmpClient> client_;
    loop::Source retry_;
    loop::Source pulse_;
    Patience patience_;
    int unanswered_ = 0; ///< periods
    bool up_ = false;
};

} // namespace drover::balancer
