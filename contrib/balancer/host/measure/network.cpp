// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/host/measure/network.h"

#include <algorithm>

namespace drover::balancer::measure {

namespace {

/// Interfaces that only stand on another one, which `lower` names.
bool stands_on_another(const Link& link)
{
    return link.kind == "vlan" || link.kind == "macvlan" || link.kind == "macvtap" ||
           link.kind == "ipvlan";
}

bool is_inward(const Link& link)
{
    return link.loopback || link.kind == "tun" || link.kind == "bridge" ||
           link.kind == "openvswitch" || link.kind == "dummy" || link.kind == "ifb";
}

} // namespace

void Network::update(const NetTable& table, TimePoint now)
{
    const double elapsed = elapsed_.step(now);
    interfaces_.clear();
    for (const Link& link : table.links) {
        Counters& counters = counters_[link.index];
        Interface& interface = interfaces_[link.index];
        interface.link = link;
        interface.rx = counters.rx.rate(link.rx_bytes, elapsed);
        interface.tx = counters.tx.rate(link.tx_bytes, elapsed);
        interface.rx_drops = counters.rx_drops.rate(link.rx_drops, elapsed);
        interface.tx_drops = counters.tx_drops.rate(link.tx_drops, elapsed);
    }
    std::erase_if(counters_, [this](const auto& e) { return !interfaces_.contains(e.first); });
    for (const Qdisc& qdisc : table.qdiscs)
        update_qdisc(qdisc, elapsed);
    update_losses(elapsed);
}

void Network::update_losses(double elapsed)
{
    for (auto& [index, interface] : interfaces_) {
        Counters& counters = counters_[index];
        const double rx = counters.rx_packets.rate(interface.link.rx_packets, elapsed);
        const double tx = counters.tx_packets.rate(interface.link.tx_packets, elapsed);
        // What is received is counted before it is dropped, what is sent is not if it was.
        if (interface.rx_drops > 0)
            interface.rx_loss = interface.rx_drops / std::max(rx, interface.rx_drops);
        if (interface.tx_drops > 0)
            interface.tx_loss = interface.tx_drops / (tx + interface.tx_drops);
    }
}

/// Only the root's queue and drops: the kernel adds to a root what its children hold and drop.
void Network::update_qdisc(const Qdisc& qdisc, double elapsed)
{
    const auto found = interfaces_.find(qdisc.link);
    if (found == interfaces_.end())
        return;
    Interface& interface = found->second;
    Counters& counters = counters_[qdisc.link];
    if (qdisc.rate > 0 && (interface.rate == 0 || qdisc.rate < interface.rate))
        interface.rate = qdisc.rate;
    if (qdisc.parent == Qdisc::root) {
        interface.backlog = static_cast<double>(qdisc.backlog);
        interface.tx_drops += counters.qdisc_drops.rate(qdisc.drops, elapsed);
    } else if (qdisc.parent == Qdisc::ingress) {
        interface.rx_drops += counters.ingress_drops.rate(qdisc.drops, elapsed);
    }
}

const Interface* Network::find(std::string_view name) const
{
    for (const auto& [index, interface] : interfaces_) {
        if (interface.link.name == name)
            return &interface;
    }
    return nullptr;
}

const Interface* Network::by_index(int index) const
{
    const auto found = interfaces_.find(index);
    return found == interfaces_.end() ? nullptr : &found->second;
}

const Interface* Network::carrier_of(const Interface& upper) const
{
    const Interface* at = &upper;
    for (int depth = 0; at && stands_on_another(at->link) && depth < 8; ++depth)
        at = by_index(at->link.lower);
    return at;
}

const Interface* Network::uplink_of(const Interface& port) const
{
    if (stands_on_another(port.link)) {
        const Interface* carrier = carrier_of(port);
        return carrier && carrier->link.kind == "bridge" ? nullptr : carrier;
    }
    if (port.link.master == 0)
        return nullptr;
    const Interface* uplink = nullptr;
    for (const auto& [index, other] : interfaces_) {
        if (other.link.master != port.link.master || index == port.link.index || !other.link.up ||
            is_inward(other.link))
            continue;
        if (!uplink || other.rx + other.tx > uplink->rx + uplink->tx)
            uplink = &other;
    }
    return uplink ? carrier_of(*uplink) : nullptr;
}

std::vector<const Interface*> Network::outward() const
{
    std::vector<const Interface*> outward;
    for (const auto& [index, interface] : interfaces_) {
        const Link& link = interface.link;
        if (!link.up || is_inward(link) || stands_on_another(link))
            continue;
        const Interface* master = by_index(link.master);
        if (!master || master->link.kind == "bridge" || master->link.kind == "openvswitch")
            outward.push_back(&interface);
    }
    return outward;
}

void Network::set_capacities(std::map<std::string, double> capacities)
{
    capacities_ = std::move(capacities);
}

double Network::capacity(const Interface& interface) const
{
    const auto set = capacities_.find(interface.link.name);
    if (set != capacities_.end() && set->second > 0)
        return set->second;
    return interface.rate > 0 ? interface.rate : interface.link.speed;
}

} // namespace drover::balancer::measure
