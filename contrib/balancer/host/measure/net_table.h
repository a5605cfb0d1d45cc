// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/host/measure/netlink.h"

#include <map>
#include <string>
#include <vector>

namespace drover::balancer::measure {

/// A network interface and its counters, as rtnetlink tells. (Not from /sys/class/net: that shows
/// the namespace in which /sys was mounted, and takes a file for each number.)
struct Link {
    int index = 0;
    std::string name;
    std::string kind; ///< "veth", "bridge", "tun", ...; empty: hardware, and lo
    bool up = false;
    bool carrier = true; ///< a cable is in it, or what stands for one
    bool loopback = false;
    int master = 0; ///< the bridge or bond that it belongs to, by index; 0: none
    int lower = 0;  ///< the interface below (of a VLAN), or the peer (of a veth); 0: none
    bool lower_elsewhere = false; ///< `lower` is in another network namespace, and no index here
    uint64_t rx_bytes = 0;
    uint64_t tx_bytes = 0;
    uint64_t rx_packets = 0;
    uint64_t tx_packets = 0;
    uint64_t rx_drops = 0; ///< packets
    uint64_t tx_drops = 0;
    double speed = 0; ///< bytes/s, as the hardware says; 0: unknown
};

/// A queueing discipline of an interface.
struct Qdisc {
    static constexpr uint32_t root = 0xFFFFFFFF;    ///< `parent` of what an interface sends through
    static constexpr uint32_t ingress = 0xFFFFFFF1; ///< of what polices what it receives

    int link = 0; ///< index
    uint32_t parent = 0;
    std::string kind;
    uint64_t backlog = 0; ///< bytes
    uint64_t drops = 0;   ///< packets
    double rate = 0;      ///< bytes/s that it lets pass (tbf, netem); 0: no bound
};

struct NetTable {
    std::vector<Link> links;
    std::vector<Qdisc> qdiscs;
};

/// The content of an RTM_NEWLINK or RTM_NEWQDISC message. Nothing if it is none.
[[nodiscard]] std::optional<Link> parse_link(Bytes content);
[[nodiscard]] std::optional<Qdisc> parse_qdisc(Bytes content);

/// Reads both lists. One thread at a time, always of the same network namespace.
class NetReader {
public:
    NetReader();

    [[nodiscard]] Result<NetTable> read();

private:
    struct Speed {
        double bytes_s = 0;
        unsigned age = 0; // reads since it was asked for
    };
    void add_speed(Link& link);

    NetlinkSocket netlink_;
    UniqueFd socket_; // for ethtool
    std::map<std::string, Speed> speeds_;
};

} // namespace drover::balancer::measure
