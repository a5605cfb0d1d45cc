// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "util/result.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace drover::balancer {

/// An HTTP server with one page: GET /metrics. No TLS and no passwords: it listens on the loopback
/// interface unless the configuration says otherwise. Loop thread only.
class MetricsServer {
public:
    /// More connections at a time are closed at once, and each after so many seconds.
    static constexpr unsigned max_connections = 16;
    static constexpr unsigned max_seconds = 20;

    /// `address` is a numeric IPv4 or IPv6 address; port 0: one that is free. `page` is called at
    /// each request.
    [[nodiscard]] static Result<std::unique_ptr<MetricsServer>>
    start(const std::string& address, uint16_t port, std::function<std::string()> page);
    ~MetricsServer();
    MetricsServer(const MetricsServer&) = delete;
    MetricsServer& operator=(const MetricsServer&) = delete;

    [[nodiscard]] uint16_t port() const;
    [[nodiscard]] unsigned connections() const;

private:
    class Impl;
    explicit MetricsServer(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

} // namespace drover::balancer
