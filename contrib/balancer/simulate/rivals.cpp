// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/simulate/rivals.h"

#include <algorithm>
#include <bit>

namespace drover::balancer {

LoadTable::LoadTable(const World& world)
    : world_(world), used_(world.hosts.size()), in_(world.hosts.size()), out_(world.hosts.size()),
      moving_(world.vms.size())
{
    for (HostId id = 0; id < used_.size(); ++id)
        used_[id] = world.hosts[id].used - world.hosts[id].migrating;
    for (const InFlight& move : world.in_flight)
        shift(move.vm, move.from, move.to);
}

void LoadTable::shift(VmId vm, HostId from, HostId to)
{
    used_[from] -= world_.vms[vm].used;
    used_[to] += world_.vms[vm].used;
    ++out_[from];
    ++in_[to];
    moving_[vm] = true;
}

double LoadTable::part_with(HostId host, VmId vm, Resource r) const
{
    return part(host, r) + world_.vms[vm].used[r] / world_.fleet.host(host).capacity[r];
}

bool LoadTable::fits(HostId host, VmId vm) const
{
    return std::all_of(all_resources.begin(), all_resources.end(), [&](Resource r) {
        return part_with(host, vm, r) <= world_.fleet.host(host).threshold[r];
    });
}

bool LoadTable::fits_memory(HostId host, VmId vm) const
{
    return part_with(host, vm, Resource::Memory) <=
           world_.fleet.host(host).threshold[Resource::Memory];
}

bool LoadTable::above(HostId host) const
{
    return std::any_of(all_resources.begin(), all_resources.end(), [&](Resource r) {
        return part(host, r) > world_.fleet.host(host).threshold[r];
    });
}

bool LoadTable::may_leave(VmId vm) const
{
    return !moving_[vm] && !world_.fleet.vm(vm).pinned;
}

bool LoadTable::can_send(HostId host) const
{
    return out_[host] < world_.fleet.host(host).max_out &&
           in_[host] + out_[host] < Rules{}.max_per_link;
}

bool LoadTable::may_receive(HostId host, VmId vm) const
{
    const Fleet& fleet = world_.fleet;
    const HostSpec& spec = fleet.host(host);
    const VmSpec& guest = fleet.vm(vm);
    if (!spec.receives || in_[host] >= spec.max_in ||
        in_[host] + out_[host] >= Rules{}.max_per_link || fleet.host_of(vm) == host ||
        !spec.offers.includes(guest.needs) ||
        (!guest.groups.empty() && !guest.groups.meets(spec.groups)))
        return false;
    for (const WordId label : guest.apart)
        for (const VmId other : fleet.vms_labelled(label))
            if (other != vm && fleet.host_of(other) == host)
                return false;
    return true;
}

void LoadTable::order(VmId vm, HostId to, std::vector<Order>& orders)
{
    shift(vm, world_.fleet.host_of(vm), to);
    orders.push_back({vm, to, {}, {}});
}

void Persistence::add(const World& world)
{
    bits_.resize(world.hosts.size());
    series_.resize(world.hosts.size());
    for (HostId id = 0; id < bits_.size(); ++id)
        for (const Resource r : all_resources) {
            const auto i = static_cast<size_t>(r);
            const HostSpec& spec = world.fleet.host(id);
            const HostSample& sample = world.hosts[id];
            const double part = (sample.used[r] - sample.migrating[r]) / spec.capacity[r];
            // Memory is hot when the host swaps, as Sandpiper's black box has it.
            const bool above = r == Resource::Memory ? sample.swap_out > spec.swap_out_threshold
                                                     : part > spec.threshold[r];
            bits_[id][i] = static_cast<uint8_t>(bits_[id][i] << 1 | (above ? 1 : 0));
            Series& series = series_[id][i];
            series.values[series.next] = static_cast<float>(part);
            series.next = (series.next + 1) % window;
            series.count = std::min(series.count + 1, window);
        }
}

/// u(t+1) = m + f (u(t) - m), with m and f from the window.
double Persistence::next_value(const Series& series) const
{
    double mean = 0;
    for (size_t i = 0; i < series.count; ++i)
        mean += series.values[i];
    mean /= double(std::max<size_t>(1, series.count));
    double both = 0;
    double square = 0;
    for (size_t i = 1; i < series.count; ++i) {
        const size_t at = (series.next + window - i) % window;
        const double now = series.values[at] - mean;
        const double before = series.values[(at + window - 1) % window] - mean;
        both += now * before;
        square += before * before;
    }
    const double last = series.values[(series.next + window - 1) % window] - mean;
    return mean + (square > 0 ? both / square : 0) * last;
}

bool Persistence::is_hot(const World& world, HostId host, bool by_forecast) const
{
    for (const Resource r : all_resources) {
        const auto i = static_cast<size_t>(r);
        const unsigned recent = bits_[host][i] & ((1U << n) - 1);
        if (static_cast<unsigned>(std::popcount(recent)) < k)
            continue;
        if (!by_forecast || r == Resource::Memory ||
            next_value(series_[host][i]) > world.fleet.host(host).threshold[r])
            return true;
    }
    return false;
}

} // namespace drover::balancer
