// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/judge/fleet.h"

#include <algorithm>

namespace drover::balancer {

HostId Fleet::add_host(HostSpec spec)
{
    const auto id = static_cast<HostId>(hosts_.size());
    hosts_by_name_[spec.name] = id;
    hosts_.push_back({std::move(spec), {}, true});
    return id;
}

VmId Fleet::add_vm(VmSpec spec, HostId where)
{
    const auto id = static_cast<VmId>(vms_.size());
    vms_by_name_[spec.name] = id;
    vms_.push_back({std::move(spec), no_host, true});
    label(id, true);
    place(id, where);
    return id;
}

void Fleet::set_host(HostId host, HostSpec spec)
{
    if (spec.name != hosts_[host].spec.name) {
        hosts_by_name_.erase(hosts_[host].spec.name);
        hosts_by_name_[spec.name] = host;
    }
    hosts_[host].spec = std::move(spec);
}

void Fleet::set_vm(VmId vm, VmSpec spec)
{
    label(vm, false);
    if (spec.name != vms_[vm].spec.name) {
        vms_by_name_.erase(vms_[vm].spec.name);
        vms_by_name_[spec.name] = vm;
    }
    vms_[vm].spec = std::move(spec);
    label(vm, true);
}

void Fleet::remove_host(HostId host)
{
    for (const VmId vm : hosts_[host].vms)
        vms_[vm].host = no_host;
    hosts_[host].vms.clear();
    hosts_[host].alive = false;
    hosts_by_name_.erase(hosts_[host].spec.name);
}

void Fleet::remove_vm(VmId vm)
{
    place(vm, no_host);
    label(vm, false);
    vms_[vm].alive = false;
    vms_by_name_.erase(vms_[vm].spec.name);
}

void Fleet::place(VmId vm, HostId where)
{
    const HostId before = vms_[vm].host;
    if (before == where)
        return;
    if (before != no_host)
        std::erase(hosts_[before].vms, vm);
    if (where != no_host)
        hosts_[where].vms.push_back(vm);
    vms_[vm].host = where;
}

std::optional<HostId> Fleet::host_named(std::string_view name) const
{
    const auto found = hosts_by_name_.find(std::string(name));
    return found == hosts_by_name_.end() ? std::nullopt : std::optional(found->second);
}

std::optional<VmId> Fleet::vm_named(std::string_view name) const
{
    const auto found = vms_by_name_.find(std::string(name));
    return found == vms_by_name_.end() ? std::nullopt : std::optional(found->second);
}

std::span<const VmId> Fleet::vms_labelled(WordId label) const
{
    return label < by_label_.size() ? std::span<const VmId>(by_label_[label])
                                    : std::span<const VmId>();
}

void Fleet::label(VmId vm, bool with)
{
    for (const auto* labels : {&vms_[vm].spec.together, &vms_[vm].spec.apart})
        for (const WordId word : *labels) {
            if (by_label_.size() <= word)
                by_label_.resize(word + 1);
            std::erase(by_label_[word], vm);
            if (with)
                by_label_[word].push_back(vm);
        }
}

} // namespace drover::balancer
