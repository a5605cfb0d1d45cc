// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/judge/plan.h"

namespace drover::balancer {

constexpr double test_gib = 1024.0 * 1024 * 1024;

inline HostSpec test_host(const std::string& name, double cores = 10)
{
    HostSpec host;
    host.name = name;
    host.capacity = Amount::of(cores, 64 * test_gib, 1e9, 1e9);
    host.link = 500e6;
    return host;
}

/// Hosts of ten cores and VMs of so many busy ones, with what a snapshot says of them.
struct FleetMaker {
    Fleet fleet;
    Snapshot snapshot;

    HostId host(const std::string& name, double cores = 10) { return add(test_host(name, cores)); }
    HostId add(HostSpec spec)
    {
        snapshot.hosts.push_back({.fresh = true});
        return fleet.add_host(std::move(spec));
    }
    VmId vm(const std::string& name, HostId where, double cores, double gib = 2)
    {
        VmSpec spec;
        spec.name = name;
        return add(std::move(spec), where, Amount::of(cores, gib * test_gib, 0, 0));
    }
    VmId add(VmSpec spec, HostId where, const Amount& load)
    {
        snapshot.vms.push_back({.demand = load, .predicted = load, .fresh = true});
        snapshot.hosts[where].demand += load;
        snapshot.hosts[where].predicted += load;
        return fleet.add_vm(std::move(spec), where);
    }
    void hotspot(HostId where, HotspotKind kind = HotspotKind::HostCpu,
                 Resource resource = Resource::Cpu)
    {
        Hotspot spot;
        spot.id = snapshot.hotspots.size() + 1;
        spot.kind = kind;
        spot.host = where;
        spot.resource = resource;
        spot.sure = 1;
        snapshot.hotspots.push_back(spot);
    }
    const Snapshot& look()
    {
        snapshot.fleet = &fleet;
        snapshot.now = 10000;
        return snapshot;
    }
    Plan plan() { return make_plan(look()); }
};

} // namespace drover::balancer
