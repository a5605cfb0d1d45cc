// SPDX-License-Identifier: GPL-2.0-or-later
//
// Netlink messages (made here, cut off, and of nonsense), rates of interfaces, uplinks, and what
// tells demand from supply.
#include "contrib/balancer/host/measure/demand.h"
#include "contrib/balancer/host/measure/network.h"
#include "contrib/balancer/host/measure/tcp_sockets.h"

#include <algorithm>
#include <cstring>
#include <gtest/gtest.h>
#include <linux/gen_stats.h>
#include <linux/if_link.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <linux/tcp.h>
#include <net/if.h>
#include <netinet/in.h>

namespace drover::balancer::measure {

namespace {

/// Puts a message together.
class Message {
public:
    template <typename T> Message& raw(const T& value)
    {
        const auto bytes = std::as_bytes(std::span(&value, 1));
        bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
        return *this;
    }
    template <typename T> Message& attribute(uint16_t type, const T& value)
    {
        return nested(type, Message().raw(value));
    }
    Message& text(uint16_t type, const char* value)
    {
        Message content;
        for (const char* at = value; *at != '\0'; ++at)
            content.raw(*at);
        return nested(type, content.raw('\0'));
    }
    Message& nested(uint16_t type, const Message& content)
    {
        raw(nlattr{static_cast<uint16_t>(4 + content.bytes_.size()), type});
        bytes_.insert(bytes_.end(), content.bytes_.begin(), content.bytes_.end());
        bytes_.resize((bytes_.size() + 3) / 4 * 4);
        return *this;
    }
    [[nodiscard]] Bytes bytes() const { return bytes_; }
    std::vector<std::byte>& mutable_bytes() { return bytes_; }

private:
    std::vector<std::byte> bytes_;
};

Message link_message()
{
    rtnl_link_stats64 stats = {};
    stats.rx_bytes = 1ULL << 40;
    stats.tx_bytes = 7;
    stats.rx_dropped = 3;
    stats.tx_dropped = 4;
    ifinfomsg header = {};
    header.ifi_index = 12;
    header.ifi_flags = IFF_UP;
    return Message()
        .raw(header)
        .text(IFLA_IFNAME, "tap0")
        .attribute(IFLA_MASTER, 5)
        .attribute(IFLA_LINK, 9)
        .attribute(IFLA_LINK_NETNSID, 3)
        .attribute(IFLA_CARRIER, uint8_t(0))
        .attribute(IFLA_STATS64, stats)
        .nested(IFLA_LINKINFO, Message().text(IFLA_INFO_KIND, "tun"));
}

Message qdisc_message(const char* kind, const Message& options)
{
    gnet_stats_queue queue = {};
    queue.backlog = 3000;
    queue.drops = 17;
    tcmsg header = {};
    header.tcm_ifindex = 12;
    header.tcm_parent = TC_H_ROOT;
    return Message()
        .raw(header)
        .text(TCA_KIND, kind)
        .nested(TCA_OPTIONS, options)
        .nested(TCA_STATS2, Message().attribute(TCA_STATS_QUEUE, queue));
}

Message tbf_message(uint64_t rate64)
{
    tc_tbf_qopt parameters = {};
    parameters.rate.rate = 125000;
    Message options;
    options.attribute(TCA_TBF_PARMS, parameters);
    if (rate64 > 0)
        options.attribute(TCA_TBF_RATE64, rate64);
    return qdisc_message("tbf", options);
}

/// Whatever is done to a message, a parser neither reads beyond it nor hangs.
template <typename Parse> void maltreat(const Message& good, Parse parse)
{
    for (size_t size = 0; size <= good.bytes().size(); ++size) {
        const std::vector<std::byte> exact(good.bytes().begin(),
                                           good.bytes().begin() + static_cast<long>(size));
        (void)parse(Bytes(exact));
    }
    for (size_t i = 0; i < good.bytes().size(); ++i) {
        for (const unsigned value : {0U, 1U, 3U, 0x7FU, 0xFFU}) {
            std::vector<std::byte> bad(good.bytes().begin(), good.bytes().end());
            bad[i] = static_cast<std::byte>(value);
            (void)parse(Bytes(bad));
        }
    }
}

constexpr TimePoint start(std::chrono::seconds(1000));

TimePoint after(double seconds)
{
    return start + std::chrono::duration_cast<Clock::duration>(Duration(seconds));
}

Link link(int index, const char* name, const char* kind, int master = 0, int lower = 0)
{
    Link it;
    it.index = index;
    it.name = name;
    it.kind = kind;
    it.up = true;
    it.master = master;
    it.lower = lower;
    return it;
}

/// eth0, br0 with eth1 and two taps, a VLAN and a macvtap on eth0, a bond of two, lo, and one down.
NetTable some_table()
{
    NetTable table;
    table.links = {link(2, "eth0", ""),
                   link(3, "eth1", "", 10),
                   link(4, "bond0", "bond"),
                   link(5, "eth2", "", 4),
                   link(6, "eth3", "", 4),
                   link(7, "vlan7", "vlan", 0, 2),
                   link(8, "macvtap0", "macvtap", 0, 2),
                   link(10, "br0", "bridge"),
                   link(11, "tap0", "tun", 10),
                   link(12, "tap1", "tun", 10),
                   link(13, "br1", "bridge"),
                   link(14, "tap2", "tun", 13),
                   link(15, "eth9", ""),
                   link(1, "lo", "")};
    table.links[12].up = false;
    table.links[13].loopback = true;
    return table;
}

} // namespace

TEST(Netlink, ParsesALink)
{
    const auto parsed = parse_link(link_message().bytes());
    ASSERT_TRUE(parsed);
    EXPECT_EQ(parsed->index, 12);
    EXPECT_EQ(parsed->name, "tap0");
    EXPECT_EQ(parsed->kind, "tun");
    EXPECT_EQ(parsed->master, 5);
    EXPECT_EQ(parsed->lower, 9);
    EXPECT_TRUE(parsed->up);
    EXPECT_FALSE(parsed->carrier);
    EXPECT_TRUE(parsed->lower_elsewhere);
    EXPECT_FALSE(parsed->loopback);
    EXPECT_EQ(parsed->rx_bytes, 1ULL << 40);
    EXPECT_EQ(parsed->tx_bytes, 7U);
    EXPECT_EQ(parsed->rx_drops, 3U);
    EXPECT_EQ(parsed->tx_drops, 4U);
    maltreat(link_message(), parse_link);
}

TEST(Netlink, ParsesQdiscs)
{
    auto qdisc = parse_qdisc(tbf_message(0).bytes());
    ASSERT_TRUE(qdisc);
    EXPECT_EQ(qdisc->link, 12);
    EXPECT_EQ(qdisc->parent, Qdisc::root);
    EXPECT_EQ(qdisc->kind, "tbf");
    EXPECT_EQ(qdisc->backlog, 3000U);
    EXPECT_EQ(qdisc->drops, 17U);
    EXPECT_EQ(qdisc->rate, 125000);
    EXPECT_EQ(parse_qdisc(tbf_message(12500000000).bytes())->rate, 12.5e9);

    Message netem;
    netem.raw(tc_netem_qopt{}).attribute(TCA_NETEM_RATE, tc_netem_rate{500000, 0, 0, 0});
    EXPECT_EQ(parse_qdisc(qdisc_message("netem", netem).bytes())->rate, 500000);
    EXPECT_EQ(parse_qdisc(qdisc_message("fq_codel", netem).bytes())->rate, 0);

    tc_stats old = {};
    old.backlog = 5;
    old.drops = 6;
    const auto from_old =
        parse_qdisc(Message().raw(tcmsg{}).text(TCA_KIND, "x").attribute(TCA_STATS, old).bytes());
    ASSERT_TRUE(from_old);
    EXPECT_EQ(from_old->backlog, 5U);
    EXPECT_EQ(from_old->drops, 6U);
    maltreat(tbf_message(1), parse_qdisc);
    maltreat(qdisc_message("netem", netem), parse_qdisc);
}

TEST(Netlink, ParsesATcpConnection)
{
    inet_diag_msg header = {};
    header.idiag_inode = 4711;
    header.id.idiag_sport = htons(80);
    header.id.idiag_dport = htons(1234);
    tcp_info info = {};
    info.tcpi_bytes_acked = 10;
    info.tcpi_bytes_received = 20;
    info.tcpi_notsent_bytes = 30;
    const Message good = Message().raw(header).attribute(INET_DIAG_INFO, info);
    const auto socket = parse_tcp_socket(good.bytes());
    ASSERT_TRUE(socket);
    EXPECT_EQ(socket->inode, 4711U);
    EXPECT_EQ(socket->local_port, 80);
    EXPECT_EQ(socket->remote_port, 1234);
    EXPECT_TRUE(socket->has_info);
    EXPECT_EQ(socket->sent, 10U);
    EXPECT_EQ(socket->received, 20U);
    EXPECT_EQ(socket->unsent, 30U);
    maltreat(good, parse_tcp_socket);
}

TEST(Netlink, WalksMessages)
{
    const auto message = [](uint16_t type, uint16_t flags, int content) {
        nlmsghdr header = {sizeof(nlmsghdr) + sizeof content, type, flags, 0, 0};
        return Message().raw(header).raw(content);
    };
    Message two = message(RTM_NEWLINK, NLM_F_MULTI, 7);
    two.raw(nlmsghdr{sizeof(nlmsghdr), NLMSG_DONE, NLM_F_MULTI, 0, 0});
    std::vector<int> seen;
    const auto note = [&](unsigned, Bytes content) { seen.push_back(first_as<int>(content)); };
    EXPECT_EQ(for_each_message(two.bytes(), note), true);
    EXPECT_EQ(seen, std::vector<int>{7});
    EXPECT_EQ(for_each_message(message(RTM_NEWLINK, NLM_F_MULTI, 8).bytes(), note), false);
    EXPECT_EQ(for_each_message(message(RTM_NEWLINK, 0, 9).bytes(), note), true);
    const auto refused = for_each_message(message(NLMSG_ERROR, 0, -EPERM).bytes(), note);
    ASSERT_FALSE(refused);
    EXPECT_NE(refused.error().message.find(std::strerror(EPERM)), std::string::npos);
    EXPECT_FALSE(for_each_message(two.bytes().first(18), note));
    maltreat(two, [&](Bytes bytes) { return for_each_message(bytes, note).has_value(); });
}

TEST(Network, RatesDropsAndBacklog)
{
    Network network;
    NetTable table;
    table.links = {link(2, "eth0", "")};
    table.links[0].rx_bytes = 1000;
    table.links[0].tx_drops = 1;
    table.links[0].speed = 125e6;
    table.qdiscs = {{2, Qdisc::root, "tbf", 100, 50, 1e6},
                    {2, 0x10000, "bfifo", 100, 50, 0}, // its child: counted by the root already
                    {2, Qdisc::ingress, "ingress", 0, 5, 0}};
    network.update(table, start);
    EXPECT_EQ(network.find("eth0")->rx, 0);
    table.links[0].rx_bytes = 5000;
    table.links[0].tx_bytes = 600;
    table.links[0].tx_packets = 30;
    table.links[0].rx_packets = 16;
    table.links[0].tx_drops = 3;
    table.qdiscs[0].drops = table.qdiscs[1].drops = 58;
    table.qdiscs[2].drops = 9;
    table.qdiscs[0].backlog = 9000;
    network.update(table, after(2));
    const Interface* eth0 = network.find("eth0");
    ASSERT_TRUE(eth0);
    EXPECT_EQ(eth0->rx, 2000);
    EXPECT_EQ(eth0->tx, 300);
    EXPECT_EQ(eth0->tx_drops, 5); // 2 of the interface, 8 of the qdisc, in 2 seconds
    EXPECT_EQ(eth0->rx_drops, 2);
    EXPECT_DOUBLE_EQ(eth0->tx_loss, 10.0 / 40); // dropped ones are not counted as sent
    EXPECT_DOUBLE_EQ(eth0->rx_loss, 4.0 / 16);  // but were counted as received
    EXPECT_EQ(eth0->backlog, 9000);
    EXPECT_EQ(network.capacity(*eth0), 1e6); // of tbf, rather than of the hardware
    network.set_capacities({{"eth0", 5e5}});
    EXPECT_EQ(network.capacity(*eth0), 5e5);
    network.set_capacities({{"eth0", 0}});
    EXPECT_EQ(network.capacity(*eth0), 1e6);
    EXPECT_FALSE(network.find("eth1"));
}

TEST(Network, KnowsWhatReachesOtherHosts)
{
    Network network;
    network.update(some_table(), start);
    std::vector<std::string> names;
    for (const Interface* interface : network.outward())
        names.push_back(interface->link.name);
    std::sort(names.begin(), names.end());
    EXPECT_EQ(names, (std::vector<std::string>{"bond0", "eth0", "eth1"}));
}

TEST(Network, FindsUplinks)
{
    Network network;
    const auto uplink = [&](const char* name) {
        const Interface* it = network.uplink_of(*network.find(name));
        return it ? it->link.name : std::string("none");
    };
    NetTable table = some_table();
    network.update(table, start);
    EXPECT_EQ(uplink("tap0"), "eth1");
    EXPECT_EQ(uplink("tap1"), "eth1");
    EXPECT_EQ(uplink("tap2"), "none"); // a bridge of guests
    EXPECT_EQ(uplink("macvtap0"), "eth0");
    EXPECT_EQ(uplink("eth0"), "none");
    table.links[5].master = 10; // the VLAN joins the bridge, and is the busier port
    table.links[5].rx_bytes = 1000;
    network.update(table, after(1));
    EXPECT_EQ(uplink("tap0"), "eth0"); // which carries it
    table.links[5].lower = 7;          // nonsense: stands on itself
    network.update(table, after(2));
    (void)uplink("tap0");
}

/// A guest behind Proxmox's firewall, and one of its containers on the same bridge, which is the
/// busiest of all.
NetTable proxmox_table()
{
    NetTable table;
    table.links = {link(2, "enp5s0", "", 20),
                   link(20, "vmbr0", "bridge"),
                   link(21, "fwpr101p0", "veth", 20, 22),
                   link(22, "fwln101i0", "veth", 23, 21),
                   link(23, "fwbr101i0", "bridge"),
                   link(24, "tap101i0", "tun", 23),
                   link(25, "veth200i0", "veth", 20, 7),
                   link(26, "tap102i0", "tun", 20),
                   link(30, "docker0", "bridge"),
                   link(31, "vethdocker", "veth", 30, 2)};
    for (const size_t container : {6UL, 9UL})
        table.links[container].lower_elsewhere = true; // its number is of another namespace
    return table;
}

std::string name_of(const Interface* interface)
{
    return interface != nullptr ? interface->link.name : "none";
}

std::vector<std::string> names_of(const std::vector<const Interface*>& interfaces)
{
    std::vector<std::string> names;
    for (const Interface* interface : interfaces)
        names.push_back(interface->link.name);
    std::sort(names.begin(), names.end());
    return names;
}

TEST(Network, FollowsAFirewallsBridgesAndNoContainers)
{
    Network network;
    NetTable table = proxmox_table();
    network.update(table, start);
    table.links[0].tx_bytes = 1000;
    for (const size_t pair : {2UL, 3UL})
        table.links[pair].tx_bytes = 5000;
    table.links[6].rx_bytes = 9000;
    network.update(table, after(1));
    EXPECT_EQ(names_of(network.outward()), std::vector<std::string>{"enp5s0"});
    for (const char* tap : {"tap101i0", "tap102i0"})
        EXPECT_EQ(name_of(network.uplink_of(*network.find(tap))), "enp5s0") << tap;
    EXPECT_EQ(name_of(network.carrier_of(*network.find("vmbr0"))), "enp5s0");
    EXPECT_EQ(name_of(network.carrier_of(*network.find("docker0"))), "vethdocker");
}

TEST(Network, AVethCountsWhereNothingElseIs)
{
    Network network;
    NetTable table = proxmox_table();
    table.links.erase(table.links.begin()); // a host that is a container itself
    network.update(table, start);
    EXPECT_EQ(names_of(network.outward()), (std::vector<std::string>{"veth200i0", "vethdocker"}));
    EXPECT_EQ(name_of(network.uplink_of(*network.find("tap101i0"))), "veth200i0");
}

TEST(Network, WhatTravelsInAnotherOneIsCountedThere)
{
    for (const char* kind : {"vxlan", "wireguard", "gre", "gretap", "geneve", "ipip", "sit", "tun",
                             "erspan", "vti", "xfrm", "vrf"}) {
        Network network;
        NetTable table;
        table.links = {link(2, "eth0", ""), link(3, "over0", kind, 0, 2),
                       link(4, "over1", kind, 0, 0), link(5, "br0", "bridge"),
                       link(6, "tap0", "tun", 5)};
        table.links[3].master = 0;
        table.links[2].master = 5; // a bridge whose only way out is the tunnel
        network.update(table, start);
        EXPECT_EQ(names_of(network.outward()), std::vector<std::string>{"eth0"}) << kind;
        EXPECT_EQ(name_of(network.uplink_of(*network.find("tap0"))), "none") << kind;
    }
}

TEST(Network, BondsAndTeamsAreHardwareAndTheirPortsAreNot)
{
    for (const char* kind : {"bond", "team"}) {
        Network network;
        NetTable table;
        table.links = {link(2, "eth0", "", 9),       link(3, "eth1", "", 9),
                       link(9, "bond0", kind, 0),    link(10, "bond0.7", "vlan", 11, 9),
                       link(11, "br7", "bridge"),    link(12, "tap0", "tun", 11),
                       link(13, "veth0", "veth", 11)};
        network.update(table, start);
        EXPECT_EQ(names_of(network.outward()), std::vector<std::string>{"bond0"});
        EXPECT_EQ(name_of(network.uplink_of(*network.find("tap0"))), "bond0");
    }
}

TEST(Network, WithoutACarrierThereIsNoCapacity)
{
    Network network;
    NetTable table;
    table.links = {link(2, "eth0", ""), link(3, "eth1", ""), link(4, "veth0", "veth", 0, 5)};
    table.links[0].speed = table.links[1].speed = 125e6;
    table.links[1].carrier = false;
    network.update(table, start);
    network.set_capacities({{"eth1", 1e6}});
    EXPECT_EQ(network.capacity(*network.find("eth0")), 125e6);
    EXPECT_EQ(network.capacity(*network.find("eth1")), 0);
    EXPECT_EQ(names_of(network.outward()), std::vector<std::string>{"eth0"});
}

TEST(Network, WhatStandsOnItselfEnds)
{
    Network network;
    NetTable table;
    table.links = {link(2, "vlan0", "vlan", 4, 3), link(3, "vlan1", "vlan", 0, 2),
                   link(4, "br0", "bridge", 0, 4), link(5, "tap0", "tun", 4),
                   link(6, "veth0", "veth", 4, 7), link(7, "veth1", "veth", 4, 6),
                   link(8, "bond0", "bond", 8),    link(9, "eth0", "", 8)};
    network.update(table, start);
    for (const Link& it : table.links) {
        (void)network.uplink_of(*network.find(it.name));
        (void)network.carrier_of(*network.find(it.name));
    }
    EXPECT_EQ(name_of(network.uplink_of(*network.find("tap0"))), "none");
}

TEST(Demand, LowRatesAloneSayNothing)
{
    const double expected = 10e6;
    for (const double rate : {0.0, 1e3, 5e6, 9e6})
        EXPECT_FALSE(demand_unmet(expected, {.rate = rate}, {.rate = 50e6, .capacity = 125e6}));
}

TEST(Demand, SignsOfItsOwn)
{
    const double expected = 10e6;
    EXPECT_TRUE(demand_unmet(expected, {.rate = 5e6, .drops = 1}, {}));
    EXPECT_TRUE(demand_unmet(expected, {.rate = 5e6, .backlog = 100e3}, {}));
    EXPECT_FALSE(demand_unmet(expected, {.rate = 5e6, .backlog = 1500}, {})); // passes through
    EXPECT_FALSE(demand_unmet(expected, {.rate = 10e6, .drops = 9}, {}));     // gets its due
    EXPECT_FALSE(demand_unmet(0, {.rate = 5e6, .drops = 9}, {}));             // was promised none
    // What is broadcast to a guest that sleeps is no demand of the guest's.
    // Who sends much, of which little arrives, is not idle.
    EXPECT_TRUE(demand_unmet(expected, {.rate = 5e3, .offered = 12e6, .drops = 9}, {}));
    EXPECT_FALSE(demand_unmet(expected, {.rate = 500, .backlog = 100e3, .drops = 9}, {}));
}

TEST(Demand, SignsOnASharedLink)
{
    const double expected = 10e6;
    const Flow full = {.rate = 120e6, .capacity = 125e6};
    const Flow dropping = {.rate = 100e6, .drops = 30};
    EXPECT_TRUE(demand_unmet(expected, {.rate = 5e6}, full));
    EXPECT_TRUE(demand_unmet(expected, {.rate = 5e6}, dropping));
    EXPECT_FALSE(demand_unmet(expected, {.rate = 1e3}, full)); // idle beside those who fill it
    EXPECT_FALSE(demand_unmet(expected, {.rate = 5e6}, {.rate = 100e6, .capacity = 125e6}));
    EXPECT_FALSE(demand_unmet(expected, {.rate = 5e6}, {.rate = 100e6})); // capacity unknown
}

TEST(Demand, EachDirectionByItself)
{
    VmLoad vm;
    vm.nics = {{"busy-out", 10e6, 0, 4e6}, {"busy-in", 10e6, 4e6, 0}, {"enough", 10e6, 0, 11e6}};
    NicLoad link = {.name = "slice", .capacity = 15e6, .rx = 4e6, .tx = 15e6};
    add_demand(vm, link);
    EXPECT_TRUE(vm.nics[0].wants_more);
    EXPECT_FALSE(vm.nics[1].wants_more); // there is room in its direction
    EXPECT_FALSE(vm.nics[2].wants_more);
}

} // namespace drover::balancer::measure
