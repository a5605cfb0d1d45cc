// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/cluster/uplinks.h"

#include <algorithm>

namespace drover::balancer::cluster {

namespace {

double share(const NicLoad& nic)
{
    return nic.capacity > 0 ? std::max(nic.rx, nic.tx) / nic.capacity : 0;
}

const NicLoad* nic_named(const HostLoad& load, const std::string& name)
{
    const auto found = std::find_if(load.nics.begin(), load.nics.end(),
                                    [&](const NicLoad& nic) { return nic.name == name; });
    return found == load.nics.end() ? nullptr : &*found;
}

} // namespace

const NicLoad* fullest_uplink(const HostLoad& load, const std::string& before)
{
    constexpr double clearly = 0.1;
    const NicLoad* fullest = nic_named(load, before);
    if (fullest != nullptr && fullest->capacity <= 0)
        fullest = nullptr;
    double to_beat = fullest == nullptr ? -1 : share(*fullest) + clearly;
    for (const NicLoad& nic : load.nics) {
        if (nic.capacity <= 0 || share(nic) <= to_beat)
            continue;
        fullest = &nic;
        to_beat = share(nic);
    }
    return fullest;
}

double migration_link(const HostLoad& load)
{
    // One that tells no speed is not as slow, or as fast, as another.
    if (load.migration_capacity > 0 || !load.migration_nic.empty())
        return load.migration_capacity;
    // Which one it is is not known: a plan that takes it for slower than it is does less harm.
    double least = 0;
    for (const NicLoad& nic : load.nics)
        if (nic.capacity > 0 && (least == 0 || nic.capacity < least))
            least = nic.capacity;
    return least;
}

bool carries_migrations(const HostLoad& load, const NicLoad& uplink)
{
    return load.migration_nic.empty() || load.migration_nic == uplink.name;
}

bool counts_on(const VmNicLoad& nic, const HostLoad& load, const std::string& uplink)
{
    return nic.uplink == uplink || nic.wants_more || nic_named(load, nic.uplink) == nullptr;
}

} // namespace drover::balancer::cluster
