// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "monitor/qmp_server.h"
#include "util/result.h"

#include <string>
#include <string_view>

namespace drover::balancer {

/// Where a daemon is reached: "unix:PATH" or "tls:HOST:PORT" ("tls:[::1]:9700"; an empty host is
/// any of this machine's addresses, for listening only).
struct DoorAddress {
    bool tls = false;
    std::string path;
    std::string host; ///< without brackets
    std::string port; ///< 0 to 65535

    [[nodiscard]] std::string text() const;
    [[nodiscard]] MonitorEndpoint listening() const;
    [[nodiscard]] MonitorEndpoint connecting() const;
};

/// The error says how an address is written.
[[nodiscard]] Result<DoorAddress> parse_door_address(std::string_view text);

} // namespace drover::balancer
