// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/host/measure/host_monitor.h"

#include "contrib/balancer/host/measure/addresses.h"

#include <algorithm>
#include <unistd.h>

namespace drover::balancer {

using namespace measure;

HostMonitor::HostMonitor(HostMonitorConfig config)
    : config_(std::move(config)), ticks_(static_cast<double>(sysconf(_SC_CLK_TCK))),
      page_(static_cast<double>(sysconf(_SC_PAGESIZE))), stat_(config_.root + "/proc/stat"),
      meminfo_(config_.root + "/proc/meminfo"), vmstat_(config_.root + "/proc/vmstat"),
      huge_pages_(config_.root), diskstats_(config_.root + "/proc/diskstats"),
      cpu_pressure_(config_.root + "/proc/pressure/cpu"),
      memory_pressure_(config_.root + "/proc/pressure/memory"),
      io_pressure_(config_.root + "/proc/pressure/io"), disks_(config_.root)
{
    if (config_.slice && !config_.cgroup.empty())
        cgroup_ = std::make_unique<Cgroup>(config_.root, config_.cgroup);
}

void HostMonitor::begin(const Moment& now, Surroundings& around)
{
    elapsed_ = elapsed_clock_.step(now.at);
    load_ = HostLoad();
    load_.time = now.utc;
    load_.slice = config_.slice.has_value();
    read_cpu(around);
    read_memory(around);
    if (const auto text = diskstats_.read(around.buffer))
        load_.disks = disks_.update(*text, elapsed_);
    else
        gap("no disks: /proc/diskstats cannot be read");
}

HostLoad HostMonitor::finish(const std::vector<VmLoad>& vms, Surroundings& around)
{
    read_nics(around);
    for (const VmLoad& vm : vms)
        load_.cpu_migrating += vm.cpu_migrating;
    if (!config_.slice) {
        read_pressure(around);
        return load_;
    }
    const CgroupUsage group = cgroup_ ? cgroup_->read(around.buffer) : CgroupUsage();
    slice_cpu(vms, group);
    slice_memory(vms, group);
    slice_swap_rates(group);
    slice_pressure(around);
    slice_link(vms);
    return load_;
}

void HostMonitor::read_cpu(Surroundings& around)
{
    const auto text = stat_.read(around.buffer);
    const auto stat = text ? parse_proc_stat(*text) : std::nullopt;
    if (!stat)
        return gap("no processor load: /proc/stat cannot be read");
    load_.cores = static_cast<double>(std::max<size_t>(stat->cores.size(), 1));
    load_.cpu_busy = std::min(busy_.rate(stat->total.busy, elapsed_) / ticks_, load_.cores);
    load_.cpu_steal = std::min(steal_.rate(stat->total.steal, elapsed_) / ticks_, load_.cores);
    for (const auto& core : stat->cores) {
        load_.cpu_by_core.resize(core.id + 1); // one that is offline does nothing
        const double busy = core_busy_[core.id].rate(core.times.busy, elapsed_) / ticks_;
        load_.cpu_by_core[core.id] = std::min(busy, 1.0); // ticks are coarse
    }
}

void HostMonitor::read_memory(Surroundings& around)
{
    auto text = meminfo_.read(around.buffer);
    if (const auto memory = text ? parse_meminfo(*text) : std::nullopt) {
        // What was set apart as huge pages is not there for others, used or not.
        const HugePages::Bytes huge = huge_pages_.read(around.buffer);
        load_.huge_total = huge.total;
        load_.huge_free = huge.free;
        load_.memory_total = std::max(0.0, static_cast<double>(memory->total) - huge.total);
        load_.memory_available = static_cast<double>(memory->available);
        load_.swap_total = static_cast<double>(memory->swap_total);
        load_.swap_used = std::max(0.0, load_.swap_total - static_cast<double>(memory->swap_free));
    } else {
        gap("no memory: /proc/meminfo cannot be read");
    }
    around.swap_used = load_.swap_used;
    text = vmstat_.read(around.buffer);
    if (const auto swap = text ? parse_vmstat(*text) : std::nullopt) {
        load_.swap_in = swap_pages_.in.rate(swap->in, elapsed_) * page_;
        load_.swap_out = swap_pages_.out.rate(swap->out, elapsed_) * page_;
    } else if (load_.swap_total > 0) {
        gap("no swap rates: /proc/vmstat cannot be read");
    }
}

void HostMonitor::read_pressure(Surroundings& around)
{
    const struct {
        ProcFile& file;
        Pressure& pressure;
    } files[] = {{cpu_pressure_, load_.cpu_pressure},
                 {memory_pressure_, load_.memory_pressure},
                 {io_pressure_, load_.io_pressure}};
    bool any = false;
    for (const auto& [file, pressure] : files) {
        const auto text = file.read(around.buffer);
        const auto read = text ? parse_pressure(*text) : std::nullopt;
        pressure = read.value_or(Pressure());
        any = any || read;
    }
    if (!any)
        gap("no pressure: this kernel has no /proc/pressure (boot with psi=1)");
}

void HostMonitor::add_nic(const Surroundings& around, const Interface& interface)
{
    const double capacity = around.network.capacity(interface);
    const std::string& name = interface.link.name;
    if (!interface.link.carrier)
        gap(name + " has no carrier: it carries nothing");
    else if (capacity <= 0)
        gap(name +
            "'s speed is not known, so how full it is cannot be judged: give its capacity as "
            "[[nic]] in droverd.toml");
    load_.nics.push_back({.name = name,
                          .capacity = capacity,
                          .rx = interface.rx,
                          .tx = interface.tx,
                          .backlog = interface.backlog,
                          .drops = interface.tx_drops});
}

/// The interface by which migrations leave: the one that carries our own address for them.
void HostMonitor::read_migration_link(const Surroundings& around)
{
    constexpr unsigned look_period = 30; // an address hardly moves
    if (look_in_-- == 0) {
        look_in_ = look_period;
        migration_interface_ = interface_with(config_.migration_address);
    }
    const Interface* interface = around.network.find(migration_interface_);
    const Interface* carrier = interface ? around.network.carrier_of(*interface) : nullptr;
    if (!carrier)
        return;
    load_.migration_nic = carrier->link.name;
    load_.migration_capacity = around.network.capacity(*carrier);
    if (load_.migration_capacity <= 0)
        gap(load_.migration_nic + ", by which migrations leave, tells no speed: they are planned "
                                  "as by 1 Gb/s (give its capacity as [[nic]] in droverd.toml)");
}

void HostMonitor::read_nics(const Surroundings& around)
{
    read_migration_link(around);
    // The machine's links are no part of a slice, unless the configuration says which are.
    if (has_nominal_link())
        return;
    if (config_.nics.empty()) {
        for (const Interface* interface : around.network.outward())
            add_nic(around, *interface);
    }
    for (const auto& [name, capacity] : config_.nics) {
        if (const Interface* interface = around.network.find(name))
            add_nic(around, *interface);
        else
            gap("there is no network interface " + name);
    }
}

void HostMonitor::slice_cpu(const std::vector<VmLoad>& vms, const CgroupUsage& group)
{
    const double machine = load_.cores;
    if (config_.slice->cores > 0)
        load_.cores = config_.slice->cores;
    load_.cpu_by_core.clear(); // a slice's cores are no particular ones
    load_.cpu_busy = 0;
    load_.cpu_steal = 0;
    for (const VmLoad& vm : vms) {
        load_.cpu_busy += vm.cpu;
        load_.cpu_steal += vm.cpu_wait;
    }
    if (group.cpu_ns)
        load_.cpu_busy = group_cpu_.rate(*group.cpu_ns, elapsed_) / 1e9;
    if (group.throttled_ns) // of each processor on which it had to wait
        load_.cpu_steal =
            std::min(group_throttled_.rate(*group.throttled_ns, elapsed_) / 1e9, machine);
    if (cgroup_ && !group.cpu_ns)
        gap("no processor time of cgroup " + config_.cgroup + ": that of the guests instead");
}

void HostMonitor::slice_memory(const std::vector<VmLoad>& vms, const CgroupUsage& group)
{
    double resident = 0;
    double swapped = 0;
    for (const VmLoad& vm : vms) {
        resident += vm.resident;
        swapped += vm.swapped;
    }
    if (group.memory)
        resident = static_cast<double>(*group.memory);
    if (group.swap)
        swapped = static_cast<double>(*group.swap);
    if (config_.slice->memory > 0)
        load_.memory_total = config_.slice->memory;
    else if (group.memory_limit)
        load_.memory_total = static_cast<double>(*group.memory_limit);
    if (cgroup_ && !group.memory)
        gap("no memory of cgroup " + config_.cgroup + ": that of the guests instead");
    // What the guests have in swap they would have in memory if there were room.
    load_.memory_available = std::max(0.0, load_.memory_total - resident - swapped);
    load_.swap_used = swapped;
}

void HostMonitor::slice_swap_rates(const CgroupUsage& group)
{
    if (group.swapped_in && group.swapped_out) {
        load_.swap_in = group_pages_.in.rate(*group.swapped_in, elapsed_) * page_;
        load_.swap_out = group_pages_.out.rate(*group.swapped_out, elapsed_) * page_;
        return;
    }
    const double grown = load_.swap_used - slice_swapped_.value_or(load_.swap_used);
    slice_swapped_ = load_.swap_used;
    const double growth = elapsed_ > 0 ? grown / elapsed_ : 0;
    // Where as much comes in as goes out nothing grows. What comes in is seen by faults, which may
    // be of files too, and is no more than the machine reads from swap.
    const double faults = group_faults_.rate(group.major_faults.value_or(0), elapsed_) * page_;
    const double in = std::min(faults, load_.swap_in);
    load_.swap_in = std::max(in, -growth);
    load_.swap_out = std::max(growth + in, 0.0);
}

void HostMonitor::slice_pressure(Surroundings& around)
{
    const auto cpu = cgroup_ ? cgroup_->pressure("cpu", around.buffer) : std::nullopt;
    if (!cpu)
        return gap("no pressure: the slice has no cgroup of version 2");
    load_.cpu_pressure = *cpu;
    load_.memory_pressure =
        cgroup_->pressure("memory", around.buffer).value_or(load_.memory_pressure);
    load_.io_pressure = cgroup_->pressure("io", around.buffer).value_or(load_.io_pressure);
}

void HostMonitor::slice_link(const std::vector<VmLoad>& vms)
{
    if (!has_nominal_link())
        return;
    NicLoad link = {.name = "slice", .capacity = config_.slice->link};
    for (const VmLoad& vm : vms) {
        for (const VmNicLoad& nic : vm.nics) {
            link.rx += nic.rx;
            link.tx += nic.tx;
            link.backlog += nic.backlog;
            link.drops += nic.drops;
        }
    }
    load_.nics.push_back(std::move(link));
}

} // namespace drover::balancer
