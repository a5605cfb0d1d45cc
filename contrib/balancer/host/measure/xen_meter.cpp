// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/host/measure/xen_meter.h"

#include <algorithm>

namespace drover::balancer {

namespace {

constexpr double ns_per_s = 1e9;
constexpr double longest_silence_s = 5; ///< then what was told last says nothing of now

} // namespace

void XenMeter::take(XenFacts facts)
{
    const double elapsed = known_ ? facts.time - facts_.time : 0;
    std::map<std::pair<uint32_t, std::string>, Domain> domains;
    for (const XenDomainFacts& domain : facts.domains) {
        const std::pair key(domain.id, domain.uuid);
        Domain& entry = domains[key];
        if (const auto before = domains_.find(key); known_ && before != domains_.end())
            entry = before->second;
        const double ran = entry.cpu_ns.rate(domain.cpu_ns, elapsed) / ns_per_s;
        // One more vCPU may have run in part of that time than is online now.
        entry.cpu = std::min(ran, domain.vcpus + 1.0);
    }
    domains_ = std::move(domains);
    if (!known_)
        idle_ns_.clear();
    facts_ = std::move(facts);
    known_ = true;
    take_idle_times(elapsed);
}

/// What is not idle is busy: so domains that ended between two looks are in it, and Xen itself.
void XenMeter::take_idle_times(double elapsed)
{
    idle_ns_.resize(facts_.idle_ns.size());
    busy_.assign(idle_ns_.size(), 0);
    double idle = 0;
    for (size_t i = 0; i < idle_ns_.size(); ++i) {
        const double part = std::min(1.0, idle_ns_[i].rate(facts_.idle_ns[i], elapsed) / ns_per_s);
        idle += part;
        busy_[i] = elapsed > 0 ? 1 - part : 0;
    }
    cpu_busy_ = elapsed > 0 ? std::clamp(facts_.cores - idle, 0.0, facts_.cores) : 0;
}

void XenMeter::amend(VmLoad& load, double now) const
{
    const XenDomainFacts* domain = known_ ? facts_.find(load.name) : nullptr;
    load.cpu_wait = 0;
    if (domain == nullptr || now - facts_.time > longest_silence_s) {
        load.gaps.emplace_back(domain == nullptr ? "Xen knows no domain of this name"
                                                 : "nothing was heard of Xen lately");
        return;
    }
    std::erase_if(load.gaps, [](const std::string& gap) {
        return gap.find("process") != std::string::npos || gap.find("waiting") != std::string::npos;
    });
    load.gaps.emplace_back("no waiting times: Xen does not tell them of other domains");
    // Beside what its processes in Dom0 use.
    if (const auto known = domains_.find({domain->id, domain->uuid}); known != domains_.end())
        load.cpu += known->second.cpu;
    load.vcpus = domain->vcpus;
    load.memory = domain->memory;
    // Its RAM is no memory of Dom0's; and what its device model has is of Dom0's own, which is
    // there whoever runs.
    load.resident = domain->memory;
    load.swapped = 0;
    load.huge = 0;
}

void XenMeter::amend(HostLoad& load, double now) const
{
    load.cpu_by_core.clear();
    load.cpu_busy = 0;
    load.cpu_steal = 0;
    load.memory_total = 0;
    load.memory_available = 0;
    load.huge_total = load.huge_free = 0;
    load.swap_total = load.swap_used = load.swap_in = load.swap_out = 0;
    load.cpu_pressure = load.memory_pressure = load.io_pressure = Pressure();
    std::erase_if(load.gaps, [](const std::string& gap) {
        return gap.find("/proc/") != std::string::npos && gap.find("disk") == std::string::npos;
    });
    if (!known_ || now - facts_.time > longest_silence_s) {
        load.gaps.emplace_back("no processor load, no memory: nothing was heard of Xen lately "
                               "(drover-xen watch)");
        // A host that looks idle would be moved to: one of which the news is old is not.
        load.time = known_ ? load.time - (now - facts_.time) : 0;
        return;
    }
    load.gaps.emplace_back("no swap, no pressure, no steal: Dom0 sees its own, and Xen has none");
    load.cores = facts_.cores;
    load.cpu_busy = cpu_busy_;
    if (static_cast<double>(busy_.size()) == facts_.cores)
        load.cpu_by_core = busy_;
    else
        load.gaps.emplace_back("no load by core: some processors are offline");
    load.memory_total = facts_.memory;
    load.memory_available = facts_.free;
}

} // namespace drover::balancer
