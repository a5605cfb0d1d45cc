// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/host/measure/counter.h"
#include "contrib/balancer/host/measure/moment.h"
#include "contrib/balancer/host/measure/net_table.h"

#include <map>
#include <set>

namespace drover::balancer::measure {

/// A network interface in the second before. As the host sees it: rx is what the interface receives
/// (of a tap: what the guest sends). Rates in bytes/s, drops in packets/s.
struct Interface {
    Link link;
    double rx = 0;
    double tx = 0;
    double rx_drops = 0; ///< of what came in, by policing or for want of room
    double tx_drops = 0; ///< of what was to go out, by the qdisc or by the interface
    double rx_loss = 0;  ///< part of the packets that these drops are, 0 to 1
    double tx_loss = 0;
    double backlog = 0; ///< bytes in its qdisc
    double rate = 0;    ///< the bound of its tbf or netem; 0: none
};

/// Makes rates of what NetReader brings, and knows which interface reaches other hosts.
class Network {
public:
    /// Once a second.
    void update(const NetTable& table, TimePoint now);

    /// By name; null if there is none.
    [[nodiscard]] const Interface* find(std::string_view name) const;

    /// The interface by which what `port` receives leaves the host: of the bridge that it is a
    /// port of, the hardware (or bond) among its ports, or beyond a veth pair that joins it with
    /// another bridge; below a VLAN or macvtap, what carries it. Of several the busiest. A veth
    /// that leads elsewhere only if there is nothing else: containers have such on the same bridge.
    /// Null if there is none, as for a bridge with guests only.
    [[nodiscard]] const Interface* uplink_of(const Interface& port) const;

    /// The same for what is sent from an interface itself, such as a bridge that has an address.
    [[nodiscard]] const Interface* carrier_of(const Interface& interface) const;

    /// Those that reach other hosts, unless the configuration names them: hardware and bonds that
    /// are up and have a carrier. Not what stands on one of them (VLANs, macvlans, ports of a bond)
    /// or travels in it (tunnels, overlays). Where there is no hardware, as in a namespace, veths.
    [[nodiscard]] std::vector<const Interface*> outward() const;

    /// Bytes/s each way, by name: wins over what capacity() would find.
    void set_capacities(std::map<std::string, double> capacities);

    /// What was set, else the bound of its tbf or netem, else its hardware's speed. 0: unknown, or
    /// it has no carrier.
    [[nodiscard]] double capacity(const Interface& interface) const;

private:
    struct Counters {
        Counter rx;
        Counter tx;
        Counter rx_packets;
        Counter tx_packets;
        Counter rx_drops;
        Counter tx_drops;
        Counter qdisc_drops;
        Counter ingress_drops;
    };

    void update_losses(double elapsed);
    void update_qdisc(const Qdisc& qdisc, double elapsed);
    [[nodiscard]] const Interface* by_index(int index) const;
    [[nodiscard]] const Interface* beyond(const Interface* at, std::set<int>& seen) const;
    [[nodiscard]] const Interface* best_port(int bridge, std::set<int>& seen) const;
    [[nodiscard]] const Interface* peer_bridge(const Interface& port) const;
    [[nodiscard]] bool is_part_of_bond(const Interface& interface) const;

    Elapsed elapsed_;
    std::map<std::string, double> capacities_;
    std::map<int, Counters> counters_;
    std::map<int, Interface> interfaces_;
};

} // namespace drover::balancer::measure
