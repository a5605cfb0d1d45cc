// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/host/host_service.h"

namespace drover::balancer {

HostService::HostService(const DroverdConfig& config, std::vector<std::string> cgroups,
                         std::function<void(const Json&)> event)
    : vms_(config, std::move(cgroups),
           {.event = event,
            .migration_news = [this](Vm& vm) { moves_.migration_news(vm); },
            .ended = [this](Vm& vm) { moves_.vm_ended(vm); },
            .served_again = [this](Vm& vm, bool runs) { moves_.vm_served_again(vm, runs); }}),
      moves_(config, vms_, event), cpus_(config)
{
}

Status HostService::restore()
{
    if (const Status restored = vms_.restore(); !restored)
        return restored;
    moves_.restore();
    vms_.start_at_boot();
    vms_.adopt_by_pattern();
    return {};
}

} // namespace drover::balancer
