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

    /// Binds, or connects, or takes the descriptor over: all that can fail. Needs no loop, makes no
    /// thread, and may be followed by a fork.
    [[nodiscard]] static Result<std::unique_ptr<MonitorListener>>
    open(const MonitorEndpoint& endpoint);

    void start(Connected connected);

    /// The present client is gone: accept the next, or connect again, where the endpoint does.
    void client_gone();

private:
    explicit MonitorListener(const MonitorEndpoint& endpoint) : endpoint_(endpoint) {}
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

/// A monitor whose place is taken, and which nobody serves yet.
struct OpenMonitor {
    MonitorEndpoint endpoint;
    std::unique_ptr<MonitorListener> listener;
    UniqueFd log; ///< the endpoint's logfile, if it has one
};

/// Opens all that the endpoint names; see MonitorListener::open().
[[nodiscard]] Result<OpenMonitor> open_monitor(const MonitorEndpoint& endpoint);

} // namespace drover
