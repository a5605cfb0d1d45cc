// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/doors/pulse.h"
#include "monitor/endpoint_socket.h"

#include <memory>
#include <optional>
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

    EmulatorLink(std::string socket_path, Callbacks callbacks, Pulse::Patience patience = {});

    /// Fails at once where the link is down.
    void execute(const std::string& command, Json arguments, QmpClient::Reply reply);

    [[nodiscard]] bool is_up() const { return up_; }
    [[nodiscard]] const std::string& socket_path() const { return path_; }

private:
    void connect();
    void connect_later();
    void negotiate(UniqueFd fd);
    void lost();

    std::string path_;
    Callbacks callbacks_;
    std::unique_ptr<EndpointConnecting> connecting_;
    std::unique_ptr<QmpClient> client_;
    loop::Source retry_;
    std::optional<Pulse> pulse_;
    Pulse::Patience patience_;
    bool up_ = false;
};

} // namespace drover::balancer
