// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/host/measure/netlink.h"

#include <linux/inet_diag.h>
#include <vector>

namespace drover::balancer::measure {

/// A TCP connection of somebody else's, as the kernel's socket diagnosis tells.
struct TcpSocket {
    inet_diag_sockid id = {};
    uint8_t family = 0;
    uint64_t inode = 0; ///< as in /proc/PID/fd: "socket:[INODE]"
    uint16_t local_port = 0;
    uint16_t remote_port = 0;
    uint64_t sent = 0; ///< bytes that arrived there
    uint64_t received = 0;
    uint64_t unsent = 0;   ///< bytes that wait here to be sent for the first time
    bool has_info = false; ///< of the three before
};

/// The content of a SOCK_DIAG_BY_FAMILY message. Nothing if it is none.
[[nodiscard]] std::optional<TcpSocket> parse_tcp_socket(Bytes content);

/// Sees one network namespace. One thread at a time.
class TcpReader {
public:
    TcpReader();

    /// Established connections, without the counters. Costs a microsecond or so for each of the
    /// machine.
    [[nodiscard]] Result<std::vector<TcpSocket>> list();

    /// One of them, as it is now.
    [[nodiscard]] Result<TcpSocket> read(const TcpSocket& socket);

private:
    NetlinkSocket netlink_;
};

} // namespace drover::balancer::measure
