// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/host/measure/network.h"

#include <algorithm>
#include <tuple>

namespace drover::balancer::measure {

namespace {

template <size_t N> bool is_one_of(const std::string& kind, const std::string_view (&kinds)[N])
{
    return std::find(std::begin(kinds), std::end(kinds), kind) != std::end(kinds);
}

/// Interfaces that only stand on another one, which `lower` names.
bool stands_on_another(const Link& link)
{
    static constexpr std::string_view kinds[] = {"vlan",   "macvlan", "macvtap",
                                                 "ipvlan", "ipvtap",  "macsec"};
    return !link.lower_elsewhere && is_one_of(link.kind, kinds);
}

bool is_bridge(const Link& link)
{
    return link.kind == "bridge" || link.kind == "openvswitch";
}

bool is_bond(const Link& link)
{
    return link.kind == "bond" || link.kind == "team";
}

/// What leads nowhere by itself: to guests, or through tunnels whose packets leave by another one.
bool is_inward(const Link& link)
{
    static constexpr std::string_view kinds[] = {
        "tun",    "dummy",     "ifb",    "vxlan",     "geneve",  "gre", "gretap",
        "ip6gre", "ip6gretap", "erspan", "ip6erspan", "ipip",    "sit", "ip6tnl",
        "vti",    "vti6",      "xfrm",   "wireguard", "bareudp", "gtp", "l2tpeth",
        "fou",    "vrf",       "nlmon",  "vcan",      "vxcan"};
    return link.loopback || is_bridge(link) || is_one_of(link.kind, kinds);
}

bool is_hardware(const Link& link)
{
    return !link.loopback && (link.kind.empty() || is_bond(link));
}

/// How likely `out` is the way out of a bridge, reached by this port.
auto rank(const Interface& port, const Interface& out)
{
    return std::tuple(is_hardware(out.link), out.link.carrier, port.rx + port.tx);
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

/// The bridge to which a veth pair leads on, if it joins two of our own (as Proxmox's firewall
/// does: tap, fwbr, the pair fwln and fwpr, vmbr0); else null.
const Interface* Network::peer_bridge(const Interface& port) const
{
    const Link& link = port.link;
    const Interface* peer = link.kind == "veth" && !link.lower_elsewhere && link.master != 0
                                ? by_index(link.lower)
                                : nullptr;
    return peer && peer->link.index != link.index ? by_index(peer->link.master) : nullptr;
}

bool Network::is_part_of_bond(const Interface& interface) const
{
    const Interface* master = by_index(interface.link.master);
    return master && is_bond(master->link);
}

const Interface* Network::best_port(int bridge, std::set<int>& seen) const
{
    const Interface* best = nullptr;
    const Interface* best_port = nullptr;
    for (const auto& [index, port] : interfaces_) {
        const Interface* out = port.link.master == bridge ? beyond(&port, seen) : nullptr;
        if (out && (!best || rank(port, *out) > rank(*best_port, *best))) {
            best = out;
            best_port = &port;
        }
    }
    return best;
}

/// Where what goes into `at` leaves the host; null if nowhere. `seen`: those that were asked
/// already, so that what stands on itself ends.
const Interface* Network::beyond(const Interface* at, std::set<int>& seen) const
{
    if (!at || !at->link.up || !seen.insert(at->link.index).second)
        return nullptr;
    if (stands_on_another(at->link))
        return beyond(by_index(at->link.lower), seen);
    if (is_bridge(at->link))
        return best_port(at->link.index, seen);
    if (const Interface* bridge = peer_bridge(*at))
        return beyond(bridge, seen);
    if (is_part_of_bond(*at))
        return beyond(by_index(at->link.master), seen);
    return is_inward(at->link) ? nullptr : at;
}

const Interface* Network::uplink_of(const Interface& port) const
{
    std::set<int> seen{port.link.index};
    return beyond(by_index(stands_on_another(port.link) ? port.link.lower : port.link.master),
                  seen);
}

const Interface* Network::carrier_of(const Interface& interface) const
{
    std::set<int> seen;
    return beyond(&interface, seen);
}

std::vector<const Interface*> Network::outward() const
{
    std::vector<const Interface*> outward;
    bool has_hardware = false;
    for (const auto& [index, interface] : interfaces_) {
        const Link& link = interface.link;
        if (!link.up || is_inward(link) || stands_on_another(link) || peer_bridge(interface) ||
            is_part_of_bond(interface))
            continue;
        has_hardware = has_hardware || is_hardware(link);
        if (link.carrier)
            outward.push_back(&interface);
    }
    if (has_hardware)
        std::erase_if(outward, [](const Interface* it) { return !is_hardware(it->link); });
    return outward;
}

void Network::set_capacities(std::map<std::string, double> capacities)
{
    capacities_ = std::move(capacities);
}

double Network::capacity(const Interface& interface) const
{
    if (!interface.link.carrier)
        return 0;
    const auto set = capacities_.find(interface.link.name);
    if (set != capacities_.end() && set->second > 0)
        return set->second;
    return interface.rate > 0 ? interface.rate : interface.link.speed;
}

} // namespace drover::balancer::measure
