// SPDX-License-Identifier: GPL-2.0-or-later
//
// The rules of others, each as its paper or manual tells it, with our thresholds and limits:
//
//  sandpiper   T. Wood, P. Shenoy, A. Venkataramani, M. Yousif: Black-box and Gray-box Strategies
//              for Virtual Machine Migration, NSDI 2007: volume, volume by size, k of n samples and
//              an autoregressive forecast.
//  threshold-first-fit  A static threshold; the VM that is moved quickest of those that suffice
//              (A. Beloglazov, R. Buyya: Optimal online deterministic algorithms and adaptive
//              heuristics …, 2012, "minimum migration time"); the first host that it fits.
#include "contrib/balancer/simulate/rival_planners.h"

#include "contrib/balancer/simulate/rivals.h"

#include <algorithm>

namespace drover::balancer {

namespace {

class Sandpiper final : public Planner {
public:
    [[nodiscard]] std::string_view name() const override { return "sandpiper"; }
    [[nodiscard]] std::vector<Order> round(const World& world) override;

private:
    [[nodiscard]] static double volume(double cpu, double net, double memory)
    {
        constexpr double full = 0.99; // a resource that is used up would make it infinite
        const auto left = [&](double used) { return 1 - std::min(used, full); };
        return 1 / (left(cpu) * left(net) * left(memory));
    }
    [[nodiscard]] static double volume_of(const LoadTable& table, HostId host)
    {
        return volume(table.part(host, Resource::Cpu),
                      std::max(table.part(host, Resource::Rx), table.part(host, Resource::Tx)),
                      table.part(host, Resource::Memory));
    }
    static void cool(LoadTable& table, HostId host, const std::vector<HostId>& by_volume,
                     std::vector<Order>& orders);
    Persistence persistence_;
};

std::vector<Order> Sandpiper::round(const World& world)
{
    persistence_.add(world);
    std::vector<HostId> hot;
    for (HostId id = 0; id < world.hosts.size(); ++id)
        if (persistence_.is_hot(world, id, true))
            hot.push_back(id);
    std::vector<Order> orders;
    if (hot.empty())
        return orders;
    LoadTable table(world);
    std::vector<double> volumes;
    std::vector<HostId> by_volume;
    for (HostId id = 0; id < world.hosts.size(); ++id) {
        volumes.push_back(volume_of(table, id));
        by_volume.push_back(id);
    }
    const auto less = [&](HostId a, HostId b) { return volumes[a] < volumes[b]; };
    std::stable_sort(by_volume.begin(), by_volume.end(), less);
    std::stable_sort(hot.begin(), hot.end(), [&](HostId a, HostId b) { return less(b, a); });
    for (const HostId host : hot)
        cool(table, host, by_volume, orders);
    return orders;
}

/// The VMs with most volume by memory first, to the host with least volume that can take it.
void Sandpiper::cool(LoadTable& table, HostId host, const std::vector<HostId>& by_volume,
                     std::vector<Order>& orders)
{
    const World& world = table.world();
    const HostSpec& spec = world.fleet.host(host);
    std::vector<std::pair<double, VmId>> vms;
    for (const VmId vm : world.fleet.vms_on(host)) {
        const auto part = [&](Resource r) { return table.vm(vm).used[r] / spec.capacity[r]; };
        const double memory = table.vm(vm).used[Resource::Memory];
        vms.emplace_back(volume(part(Resource::Cpu),
                                std::max(part(Resource::Rx), part(Resource::Tx)),
                                part(Resource::Memory)) /
                             std::max(memory, 1.0),
                         vm);
    }
    std::stable_sort(vms.begin(), vms.end(),
                     [](const auto& a, const auto& b) { return a.first > b.first; });
    for (const auto& [ratio, vm] : vms) {
        const bool swaps = world.hosts[host].swap_out > spec.swap_out_threshold;
        if (!(table.above(host) || swaps) || !table.can_send(host))
            return;
        if (!table.may_leave(vm))
            continue;
        const auto to = std::find_if(by_volume.begin(), by_volume.end(), [&](HostId id) {
            return id != host && table.may_receive(id, vm) && table.fits(id, vm);
        });
        if (to != by_volume.end())
            table.order(vm, *to, orders);
    }
}

class ThresholdFirstFit final : public Planner {
public:
    [[nodiscard]] std::string_view name() const override { return "threshold-first-fit"; }
    [[nodiscard]] std::vector<Order> round(const World& world) override;

private:
    [[nodiscard]] static std::optional<VmId> pick(const LoadTable& table, HostId host);
    Persistence persistence_;
};

std::vector<Order> ThresholdFirstFit::round(const World& world)
{
    persistence_.add(world);
    std::vector<Order> orders;
    LoadTable table(world);
    for (HostId host = 0; host < world.hosts.size(); ++host) {
        if (!persistence_.is_hot(world, host, false))
            continue;
        while (table.can_send(host) && table.above(host)) {
            const auto vm = pick(table, host);
            if (!vm)
                break;
            HostId to = 0;
            while (to < world.hosts.size() &&
                   !(to != host && table.may_receive(to, *vm) && table.fits(to, *vm)))
                ++to;
            if (to == world.hosts.size())
                break;
            table.order(*vm, to, orders);
        }
    }
    return orders;
}

/// The smallest by memory of those whose going suffices; if none does, the busiest.
std::optional<VmId> ThresholdFirstFit::pick(const LoadTable& table, HostId host)
{
    const World& world = table.world();
    const HostSpec& spec = world.fleet.host(host);
    std::optional<VmId> smallest;
    std::optional<VmId> busiest;
    for (const VmId vm : world.fleet.vms_on(host)) {
        if (!table.may_leave(vm))
            continue;
        const Amount& used = table.vm(vm).used;
        const bool suffices =
            std::all_of(all_resources.begin(), all_resources.end(), [&](Resource r) {
                return table.part(host, r) - used[r] / spec.capacity[r] <= spec.threshold[r];
            });
        if (suffices &&
            (!smallest || used[Resource::Memory] < table.vm(*smallest).used[Resource::Memory]))
            smallest = vm;
        if (!busiest || used[Resource::Cpu] > table.vm(*busiest).used[Resource::Cpu])
            busiest = vm;
    }
    return smallest ? smallest : busiest;
}

} // namespace

std::unique_ptr<Planner> make_sandpiper()
{
    return std::make_unique<Sandpiper>();
}

std::unique_ptr<Planner> make_threshold_first_fit()
{
    return std::make_unique<ThresholdFirstFit>();
}

} // namespace drover::balancer
