// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "monitor/endpoint_socket.h"
#include "util/loop.h"

#include <functional>
#include <memory>
#include <optional>

namespace drover {

/// Where the clients of one monitor come from, one at a time. Loop thread only.
class MonitorListener {
public:
    /// `out` is only given where it differs from `in` (standard input and output).
    using Connected = std::function<void(UniqueFd in, UniqueFd out)>;

    /// Binds, or connects, or takes the descriptor over; `connected` is not called before start().
    [[nodiscard]] static Result<std::unique_ptr<MonitorListener>>
    open(const MonitorEndpoint& endpoint, Connected connected);

    void start();

    /// The present client is gone: accept the next, or connect again, where the endpoint does.
    void client_gone();

private:
    MonitorListener(const MonitorEndpoint& endpoint, Connected connected)
        : endpoint_(endpoint), connected_(std::move(connected))
    {
    }
    Status prepare();
    void accept_next();
    void on_acceptable();
    void connect_again();
    void connect_later();

    MonitorEndpoint endpoint_;
    Connected connected_;
    std::optional<ListeningSocket> listening_;
    UniqueFd first_in_; // a client that is there from the beginning
    UniqueFd first_out_;
    loop::Source source_; // accepting, or waiting to connect again
    std::unique_ptr<EndpointConnecting> connecting_;
};

} // namespace drover
