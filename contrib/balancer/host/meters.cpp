// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/host/meters.h"

#include "contrib/balancer/host/vm_questions.h"

#include <algorithm>

namespace drover::balancer {

namespace {

constexpr std::chrono::milliseconds period{1000};
constexpr uint64_t ask_every = 10; // samples

HostMonitorConfig monitor_config(const DroverdConfig& config, const SliceGroup& slice)
{
    HostMonitorConfig monitor;
    if (config.slice.given)
        monitor.slice = Slice{config.slice.cores, config.slice.memory, config.slice.link};
    monitor.cgroup = slice.cgroup;
    monitor.migration_address = config.migrate_address;
    for (const NicConfig& nic : config.nics)
        monitor.nics[nic.name] = nic.capacity;
    return monitor;
}

VmConfig vm_config(const Vm& vm)
{
    VmConfig config;
    config.name = vm.name();
    config.pid = vm.record().process.pid;
    for (const VmNic& nic : vm.record().definition.nics)
        config.nics.push_back(
            {.id = nic.id, .ifname = nic.ifname, .uplink = {}, .expected = nic.expected_bandwidth});
    return config;
}

/// A destination's work is the migration's until it has the guest. A droverd that was started
/// during a migration of stock QEMU does not know which threads are its own.
MigrationWork migration_work(const Vm& vm)
{
    if (vm.record().migration.empty() || vm.state() == VmState::Moved)
        return MigrationWork::None;
    if (vm.waits_for_guest())
        return MigrationWork::All;
    return vm.record().definition.kind == VmKind::Drover ? MigrationWork::Companion
                                                         : MigrationWork::Threads;
}

} // namespace

Meters::Meters(const DroverdConfig& config, const SliceGroup& slice, HostVms& vms)
    : vms_(vms), loads_(monitor_config(config, slice))
{
}

void Meters::use_xen(const XenWatcher& xen)
{
    xen_ = &xen;
    loads_.use_xen();
    if (xen.facts() != nullptr)
        xen_told(*xen.facts());
}

VmConfig Meters::config_of(const Vm& vm)
{
    VmConfig config = vm_config(vm);
    config.xen = vm.record().definition.kind == VmKind::Xen;
    const XenFacts* facts = config.xen && xen_ != nullptr ? xen_->facts() : nullptr;
    const XenDomainFacts* domain = facts != nullptr ? facts->find(vm.name()) : nullptr;
    if (domain == nullptr)
        return config;
    config.model = domain->model;
    // What taps QEMU has for it elsewhere is of no matter here: xl makes others, in the same order.
    config.nics.resize(std::max(config.nics.size(), domain->vifs.size()));
    for (size_t i = 0; i < domain->vifs.size(); ++i) {
        VmNicConfig& nic = config.nics[i];
        nic.ifname = domain->vifs[i] + "-emu"; // a guest without Xen's drivers has its traffic here
        if (nic.id.empty())
            nic.id = domain->vifs[i];
    }
    return config;
}

void Meters::start()
{
    sample();
    timer_ = loop::every(period, [this] { sample(); });
}

void Meters::sample()
{
    follow_vms();
    loads_.sample(Moment::now());
    ++samples_;
    for (Vm* vm : vms_.all())
        ask(*vm);
}

/// A VM that came is measured from now on, one that went is not; a name may be another process now.
void Meters::follow_vms()
{
    const std::vector<Vm*> here = vms_.all();
    std::vector<std::string> gone;
    for (const VmLoad& load : loads_.vms())
        if (std::none_of(here.begin(), here.end(),
                         [&load](const Vm* vm) { return vm->name() == load.name; }))
            gone.push_back(load.name);
    for (const std::string& name : gone)
        loads_.remove(name);
    for (const Vm* vm : here) {
        VmMonitor* known = loads_.find(vm->name());
        const bool changed = known == nullptr || known->config().pid != vm->record().process.pid;
        if (const VmConfig now = config_of(*vm); changed || known->config().model != now.model)
            known = &loads_.add(now);
        known->set_migration(migration_work(*vm));
    }
}

/// Spread over the seconds by the process number, so that a hundred guests are not asked at once.
void Meters::ask(Vm& vm)
{
    const auto offset = static_cast<uint64_t>(vm.record().process.pid);
    const auto monitor = [this, name = vm.name()] { return loads_.find(name); };
    if ((samples_ + offset) % ask_every == 0 || samples_ < 2)
        ask_vm(vm, monitor);
}

} // namespace drover::balancer
