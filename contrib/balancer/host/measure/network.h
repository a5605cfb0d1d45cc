// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/host/measure/counter.h"
#include "contrib/balancer/host/measure/moment.h"
#include "contrib/balancer/host/measure/net_table.h"

#include <map>

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
    /// port of, the busiest port that is no guest's; below a VLAN or macvtap, what carries it.
    /// Null if there is none, as for a bridge with guests only.
    [[nodiscard]] const Interface* uplink_of(const Interface& port) const;

    /// Those that reach other hosts, unless the configuration names them: all that are up but lo,
    /// bridges, guests' taps, dummies, and what only stands on another one that counts (VLANs,
    /// macvlans, ports of a bond). A veth counts: hosts in namespaces have nothing else.
    [[nodiscard]] std::vector<const Interface*> outward() const;

    /// Bytes/s each way, by name: wins over what capacity() would find.
    void set_capacities(std::map<std::string, double> capacities);

    /// What was set, else the bound of its tbf or netem, else its hardware's speed. 0: unknown.
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
    [[nodiscard]] const Interface* carrier_of(const Interface& upper) const;

    Elapsed elapsed_;
    std::map<std::string, double> capacities_;
    std::map<int, Counters> counters_;
    std::map<int, Interface> interfaces_;
};

} // namespace drover::balancer::measure
