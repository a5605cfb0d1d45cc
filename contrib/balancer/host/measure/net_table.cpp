// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/host/measure/net_table.h"

#include <linux/ethtool.h>
#include <linux/gen_stats.h>
#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

namespace drover::balancer::measure {

namespace {

/// A link's speed changes when a cable does.
constexpr unsigned speed_age = 30;

int int_of(Bytes content)
{
    return whole_as<int>(content).value_or(0);
}

void parse_link_stats(Bytes content, Link& link)
{
    // Up to these members all kernels agree.
    const auto stats = whole_as<rtnl_link_stats64>(content, offsetof(rtnl_link_stats64, multicast));
    if (!stats)
        return;
    link.rx_bytes = stats->rx_bytes;
    link.tx_bytes = stats->tx_bytes;
    link.rx_packets = stats->rx_packets;
    link.tx_packets = stats->tx_packets;
    link.rx_drops = stats->rx_dropped;
    link.tx_drops = stats->tx_dropped;
}

double tbf_rate(Bytes options)
{
    double rate = 0;
    double rate64 = 0;
    for_each_attribute(options, [&](unsigned type, Bytes content) {
        if (type == TCA_TBF_PARMS) {
            if (const auto parameters = whole_as<tc_tbf_qopt>(content))
                rate = parameters->rate.rate;
        } else if (type == TCA_TBF_RATE64) {
            rate64 = static_cast<double>(whole_as<uint64_t>(content).value_or(0));
        }
    });
    return rate64 > 0 ? rate64 : rate;
}

double netem_rate(Bytes options)
{
    double rate = 0;
    double rate64 = 0;
    if (options.size() < sizeof(tc_netem_qopt))
        return 0;
    for_each_attribute(options.subspan(sizeof(tc_netem_qopt)), [&](unsigned type, Bytes content) {
        if (type == TCA_NETEM_RATE) {
            if (const auto parameters = whole_as<tc_netem_rate>(content))
                rate = parameters->rate;
        } else if (type == TCA_NETEM_RATE64) {
            rate64 = static_cast<double>(whole_as<uint64_t>(content).value_or(0));
        }
    });
    return rate64 > 0 ? rate64 : rate;
}

/// A request and its answer for ETHTOOL_GLINKSETTINGS: the kernel says at the first call how many
/// words its bit masks have, and answers at the second.
double ask_speed(int socket, const std::string& name)
{
    constexpr size_t max_masks = size_t(3) * 127 * sizeof(uint32_t);
    alignas(ethtool_link_settings) std::byte space[sizeof(ethtool_link_settings) + max_masks] = {};
    auto* settings = new (space) ethtool_link_settings();
    ifreq request = {};
    name.copy(request.ifr_name, IFNAMSIZ - 1);
    request.ifr_data = reinterpret_cast<char*>(space);
    for (int round = 0; round < 2; ++round) {
        settings->cmd = ETHTOOL_GLINKSETTINGS;
        if (ioctl(socket, SIOCETHTOOL, &request) < 0)
            return 0;
        if (settings->link_mode_masks_nwords >= 0)
            break;
        settings->link_mode_masks_nwords = static_cast<int8_t>(-settings->link_mode_masks_nwords);
    }
    const bool known = settings->speed != static_cast<uint32_t>(SPEED_UNKNOWN);
    return known ? settings->speed * 1e6 / 8 : 0;
}

} // namespace

std::optional<Link> parse_link(Bytes content)
{
    const auto header = whole_as<ifinfomsg>(content);
    if (!header)
        return std::nullopt;
    Link link;
    link.index = header->ifi_index;
    link.up = (header->ifi_flags & IFF_UP) != 0;
    link.loopback = (header->ifi_flags & IFF_LOOPBACK) != 0;
    for_each_attribute(content.subspan(sizeof *header), [&](unsigned type, Bytes value) {
        switch (type) {
        case IFLA_IFNAME: link.name = text_of(value); break;
        case IFLA_MASTER: link.master = int_of(value); break;
        case IFLA_LINK: link.lower = int_of(value); break;
        case IFLA_LINK_NETNSID: link.lower_elsewhere = true; break;
        case IFLA_CARRIER: link.carrier = whole_as<uint8_t>(value).value_or(1) != 0; break;
        case IFLA_STATS64: parse_link_stats(value, link); break;
        case IFLA_LINKINFO:
            for_each_attribute(value, [&](unsigned inner, Bytes text) {
                if (inner == IFLA_INFO_KIND)
                    link.kind = text_of(text);
            });
            break;
        default: break;
        }
    });
    return link.index > 0 && !link.name.empty() ? std::optional(std::move(link)) : std::nullopt;
}

std::optional<Qdisc> parse_qdisc(Bytes content)
{
    const auto header = whole_as<tcmsg>(content);
    if (!header)
        return std::nullopt;
    Qdisc qdisc;
    qdisc.link = header->tcm_ifindex;
    qdisc.parent = header->tcm_parent;
    Bytes options;
    const auto take_queue = [&qdisc](Bytes bytes) {
        if (const auto queue = whole_as<gnet_stats_queue>(bytes)) {
            qdisc.backlog = queue->backlog;
            qdisc.drops = queue->drops;
        }
    };
    bool has_stats2 = false;
    for_each_attribute(content.subspan(sizeof *header), [&](unsigned type, Bytes value) {
        if (type == TCA_KIND)
            qdisc.kind = text_of(value);
        if (type == TCA_OPTIONS)
            options = value;
        if (type == TCA_STATS2) {
            for_each_attribute(value, [&](unsigned inner, Bytes bytes) {
                if (inner == TCA_STATS_QUEUE) {
                    take_queue(bytes);
                    has_stats2 = true;
                }
            });
        }
        if (type == TCA_STATS && !has_stats2) { // the old form, of which the new one is no copy
            if (const auto stats = whole_as<tc_stats>(value, offsetof(tc_stats, backlog) + 4)) {
                qdisc.backlog = stats->backlog;
                qdisc.drops = stats->drops;
            }
        }
    });
    if (qdisc.kind == "tbf")
        qdisc.rate = tbf_rate(options);
    if (qdisc.kind == "netem")
        qdisc.rate = netem_rate(options);
    return qdisc.kind.empty() ? std::nullopt : std::optional(std::move(qdisc));
}

NetReader::NetReader() : netlink_(NETLINK_ROUTE) {}

void NetReader::add_speed(Link& link)
{
    if (link.loopback || link.kind == "tun" || !link.up)
        return;
    if (!socket_)
        socket_ = UniqueFd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    const auto [speed, is_new] = speeds_.try_emplace(link.name);
    if (is_new || ++speed->second.age >= speed_age)
        speed->second = {ask_speed(socket_.get(), link.name), 0};
    link.speed = speed->second.bytes_s;
}

Result<NetTable> NetReader::read()
{
    NetTable table;
    const ifinfomsg all_links = {};
    auto status = netlink_.ask(RTM_GETLINK, std::as_bytes(std::span(&all_links, 1)), true,
                               [&](unsigned type, Bytes content) {
                                   if (type != RTM_NEWLINK)
                                       return;
                                   if (auto link = parse_link(content))
                                       table.links.push_back(std::move(*link));
                               });
    if (!status)
        return std::unexpected(std::move(status.error()).in("listing network interfaces"));
    const tcmsg all_qdiscs = {};
    status = netlink_.ask(RTM_GETQDISC, std::as_bytes(std::span(&all_qdiscs, 1)), true,
                          [&](unsigned type, Bytes content) {
                              if (type != RTM_NEWQDISC)
                                  return;
                              if (auto qdisc = parse_qdisc(content))
                                  table.qdiscs.push_back(std::move(*qdisc));
                          });
    if (!status)
        return std::unexpected(std::move(status.error()).in("listing queueing disciplines"));
    if (speeds_.size() > 2 * table.links.size())
        speeds_.clear(); // of interfaces that have gone
    for (Link& link : table.links)
        add_speed(link);
    return table;
}

} // namespace drover::balancer::measure
