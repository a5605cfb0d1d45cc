// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/host/measure/load_monitor.h"

#include "contrib/balancer/host/measure/demand.h"

#include <algorithm>

namespace drover::balancer {

namespace {

/// What costs more (all processes, all sockets) is done each so many samples, and for each VM at
/// another one of them.
constexpr unsigned look_period = 10;
/// But at each of a VM's first samples: its emulator may be about to start the process that runs
/// the guest, and to connect its network.
constexpr unsigned youth = 5;

bool needs_tcp(const VmConfig& vm)
{
    return std::any_of(vm.nics.begin(), vm.nics.end(),
                       [](const auto& nic) { return nic.ifname.empty(); });
}

} // namespace

LoadMonitor::LoadMonitor(HostMonitorConfig config)
    : host_(std::move(config)), around_(host_.config().root, host_.config().cgroup)
{
    around_.network.set_capacities(host_.config().nics);
}

VmMonitor& LoadMonitor::add(VmConfig config)
{
    Vm& vm = vms_[config.name];
    vm = Vm();
    vm.monitor = std::make_unique<VmMonitor>(host_.config().root, std::move(config));
    vm.young = youth;
    return *vm.monitor;
}

void LoadMonitor::remove(const std::string& name)
{
    vms_.erase(name);
}

VmMonitor* LoadMonitor::find(const std::string& name)
{
    const auto found = vms_.find(name);
    return found == vms_.end() ? nullptr : found->second.monitor.get();
}

void LoadMonitor::read_network(const Moment& now)
{
    net_error_.clear();
    if (const auto table = net_.read())
        around_.network.update(*table, now.at);
    else
        net_error_ = "no network: " + table.error().text();
}

void LoadMonitor::look_around()
{
    const bool any_young =
        std::any_of(vms_.begin(), vms_.end(), [](const auto& vm) { return vm.second.young > 0; });
    if (look_in_ > 0 && !any_young) {
        --look_in_;
        return;
    }
    look_in_ = look_period - 1;
    around_.processes.scan(around_.buffer);
    around_.connections.clear();
    const bool any_tcp = std::any_of(vms_.begin(), vms_.end(), [](const auto& vm) {
        return needs_tcp(vm.second.monitor->config());
    });
    if (!any_tcp)
        return;
    if (auto connections = around_.tcp.list())
        around_.connections = std::move(*connections);
}

void LoadMonitor::sample(const Moment& now)
{
    read_network(now);
    look_around();
    const double monotonic = Duration(now.at.time_since_epoch()).count();
    host_.begin(now, around_);
    vm_loads_.clear();
    for (auto& [name, vm] : vms_) {
        const bool look = vm.young > 0 || vm.look_in == 0;
        // The next time at a place of its own, so that they do not all look at once.
        if (vm.young > 0)
            vm.look_in = --vm.young > 0 ? 0 : place_++ % look_period;
        else
            vm.look_in = look ? look_period - 1 : vm.look_in - 1;
        vm_loads_.push_back(vm.monitor->sample(now, around_, look));
        if (xen_ && vm.monitor->config().xen)
            xen_->amend(vm_loads_.back(), monotonic);
    }
    host_load_ = host_.finish(vm_loads_, around_);
    if (xen_)
        xen_->amend(host_load_, monotonic);
    if (!net_error_.empty())
        host_load_.gaps.push_back(net_error_);
    if (host_.has_nominal_link()) {
        for (VmLoad& vm : vm_loads_)
            measure::add_demand(vm, host_load_.nics.front());
    }
    size_t i = 0;
    for (auto& [name, vm] : vms_)
        vm.history.add(now.at, vm_loads_[i++]);
    host_history_.add(now.at, host_load_);
}

std::vector<HostLoad> LoadMonitor::host_history(double seconds) const
{
    return host_history_.last(seconds);
}

std::vector<VmLoad> LoadMonitor::vm_history(const std::string& name, double seconds) const
{
    const auto found = vms_.find(name);
    return found == vms_.end() ? std::vector<VmLoad>() : found->second.history.last(seconds);
}

} // namespace drover::balancer
