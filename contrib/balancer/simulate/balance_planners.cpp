// SPDX-License-Identifier: GPL-2.0-or-later
//
// Rules that make hosts equal rather than cool hot ones, as their manuals tell them:
//
//  watcher-stddev    OpenStack Watcher, strategy "workload_stabilization": while the standard
//              deviation of the hosts' processor or memory use is above a threshold (0.2), moves
//              are tried from the busiest hosts to hosts that are drawn, and those that lower the
//              weighted deviation are made. An audit each minute.
//  proxmox-imbalance  Proxmox VE's cluster resource scheduler with dynamic load: when the imbalance
//              was above its threshold (0.3) for three rounds of ten seconds, the one move is made
//              that lowers it most. Its least improvement of a tenth is for clusters of a few
//              nodes; no single move could reach it in large ones: any improvement counts here.
#include "contrib/balancer/simulate/random.h"
#include "contrib/balancer/simulate/rival_planners.h"
#include "contrib/balancer/simulate/rivals.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace drover::balancer {

namespace {

/// Deviation of the hosts' use of one resource, changed move by move.
class Deviation {
public:
    Deviation(const LoadTable& table, size_t hosts, Resource r)
        : resource_(r), hosts_(double(hosts))
    {
        for (HostId id = 0; id < hosts; ++id)
            add(table.part(id, r));
    }
    [[nodiscard]] double value() const
    {
        return std::sqrt(std::max(0.0, squares_ / hosts_ - mean() * mean()));
    }
    [[nodiscard]] double mean() const { return sum_ / hosts_; }
    /// With the VM on the other host instead.
    [[nodiscard]] Deviation moved(const LoadTable& table, VmId vm, HostId from, HostId to) const
    {
        const Fleet& fleet = table.world().fleet;
        const double used = table.vm(vm).used[resource_];
        Deviation after = *this;
        for (const auto& [id, sign] : {std::pair{from, -1.0}, std::pair{to, 1.0}}) {
            const double before = table.part(id, resource_);
            after.remove(before);
            after.add(before + sign * used / fleet.host(id).capacity[resource_]);
        }
        return after;
    }

private:
    void add(double part) { sum_ += part, squares_ += part * part; }
    void remove(double part) { sum_ -= part, squares_ -= part * part; }
    Resource resource_;
    double hosts_;
    double sum_ = 0;
    double squares_ = 0;
};

std::vector<HostId> busiest_first(const LoadTable& table, size_t hosts)
{
    std::vector<HostId> ids(hosts);
    std::iota(ids.begin(), ids.end(), 0);
    const auto load = [&](HostId id) {
        return table.part(id, Resource::Cpu) + table.part(id, Resource::Memory);
    };
    std::stable_sort(ids.begin(), ids.end(), [&](HostId a, HostId b) { return load(a) > load(b); });
    return ids;
}

class WatcherStddev final : public Planner {
public:
    [[nodiscard]] std::string_view name() const override { return "watcher-stddev"; }
    [[nodiscard]] std::vector<Order> round(const World& world) override;

private:
    static constexpr double threshold = 0.2;
    static constexpr double audit_s = 60;
    static constexpr size_t drawn = 4;
    Random random_{1};
    double last_ = 0;
};

std::vector<Order> WatcherStddev::round(const World& world)
{
    std::vector<Order> orders;
    const size_t hosts = world.hosts.size();
    if (world.now - last_ < audit_s || hosts < 2)
        return orders;
    last_ = world.now;
    LoadTable table(world);
    Deviation cpu(table, hosts, Resource::Cpu);
    Deviation memory(table, hosts, Resource::Memory);
    const auto below = [&] { return cpu.value() <= threshold && memory.value() <= threshold; };
    for (const HostId host : busiest_first(table, hosts)) {
        for (const VmId vm : world.fleet.vms_on(host)) {
            if (below() || !table.can_send(host))
                break;
            if (!table.may_leave(vm))
                continue;
            double best = cpu.value() + memory.value();
            HostId to = no_host;
            for (size_t i = 0; i < drawn; ++i) {
                const auto id = static_cast<HostId>(random_.below(hosts));
                if (id == host || !table.may_receive(id, vm) || !table.fits_memory(id, vm))
                    continue;
                const double after = cpu.moved(table, vm, host, id).value() +
                                     memory.moved(table, vm, host, id).value();
                if (after < best)
                    best = after, to = id;
            }
            if (to == no_host)
                continue;
            cpu = cpu.moved(table, vm, host, to);
            memory = memory.moved(table, vm, host, to);
            table.order(vm, to, orders);
        }
        if (below())
            break;
    }
    return orders;
}

class ProxmoxImbalance final : public Planner {
public:
    [[nodiscard]] std::string_view name() const override { return "proxmox-imbalance"; }
    [[nodiscard]] std::vector<Order> round(const World& world) override;

private:
    static constexpr double threshold = 0.3;
    static constexpr unsigned hold = 3;
    static constexpr size_t sources = 8; ///< the busiest hosts: elsewhere no best move is found
    unsigned held_ = 0;
};

std::vector<Order> ProxmoxImbalance::round(const World& world)
{
    std::vector<Order> orders;
    const size_t hosts = world.hosts.size();
    LoadTable table(world);
    const Deviation cpu(table, hosts, Resource::Cpu);
    const Deviation memory(table, hosts, Resource::Memory);
    const auto imbalance = [](const Deviation& a, const Deviation& b) {
        return (a.value() / std::max(a.mean(), 1e-9) + b.value() / std::max(b.mean(), 1e-9)) / 2;
    };
    double best = imbalance(cpu, memory);
    held_ = best > threshold ? held_ + 1 : 0;
    if (held_ < hold)
        return orders;
    const auto busiest = busiest_first(table, hosts);
    Order move;
    for (size_t i = 0; i < std::min(sources, hosts); ++i) {
        const HostId from = busiest[i];
        for (const VmId vm : world.fleet.vms_on(from))
            for (size_t j = hosts;
                 table.can_send(from) && table.may_leave(vm) && j-- > hosts / 2;) {
                const HostId to = busiest[j];
                if (!table.may_receive(to, vm) || !table.fits_memory(to, vm))
                    continue;
                const double after =
                    imbalance(cpu.moved(table, vm, from, to), memory.moved(table, vm, from, to));
                if (after < best)
                    best = after, move.vm = vm, move.to = to;
            }
    }
    if (move.vm != no_vm) {
        table.order(move.vm, move.to, orders);
        held_ = 0;
    }
    return orders;
}

} // namespace

std::unique_ptr<Planner> make_watcher_stddev()
{
    return std::make_unique<WatcherStddev>();
}

std::unique_ptr<Planner> make_proxmox_imbalance()
{
    return std::make_unique<ProxmoxImbalance>();
}

} // namespace drover::balancer
