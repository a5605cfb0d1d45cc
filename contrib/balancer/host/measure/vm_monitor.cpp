// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/host/measure/vm_monitor.h"

#include "contrib/balancer/host/measure/demand.h"

#include <algorithm>

namespace drover::balancer {

using namespace measure;

VmMonitor::VmMonitor(std::string root, VmConfig config)
    : root_(std::move(root)), config_(std::move(config))
{
    set_nics(config_.nics);
}

void VmMonitor::set_nics(std::vector<VmNicConfig> nics)
{
    config_.nics = std::move(nics);
    nics_.clear();
    for (const VmNicConfig& nic : config_.nics)
        nics_.push_back({.config = nic});
}

void VmMonitor::set_disk_counters(uint64_t read, uint64_t written, TimePoint now)
{
    const double elapsed = disk_elapsed_.step(now);
    disk_read_rate_ = disk_read_.rate(read, elapsed);
    disk_write_rate_ = disk_written_.rate(written, elapsed);
}

VmLoad VmMonitor::sample(const Moment& now, Surroundings& around, bool look)
{
    const double elapsed = elapsed_.step(now.at);
    if (look || processes_.empty())
        look_for_processes(around);
    VmLoad load;
    load.name = config_.name;
    load.time = now.utc;
    load.vcpus = vcpus_;
    load.memory = memory_;
    load.dirty_rate = dirty_rate_;
    load.disk_read = disk_read_rate_;
    load.disk_write = disk_write_rate_;
    sample_processes(load, elapsed, around);
    for (Nic& nic : nics_)
        load.nics.push_back(sample_nic(nic, elapsed, around, load.gaps));
    return load;
}

void VmMonitor::look_for_processes(Surroundings& around)
{
    std::vector<pid_t> family = around.processes.family(config_.pid);
    if (config_.model > 0)
        family.push_back(config_.model); // nobody's child by now
    for (const pid_t pid : family) {
        const bool known = std::any_of(processes_.begin(), processes_.end(),
                                       [pid](const auto& it) { return it.pid() == pid; });
        // Another process that was given the emulator's number is not the emulator.
        if (!known && !gone_)
            processes_.emplace_back(root_, pid);
    }
    for (ProcessMeter& process : processes_)
        process.look_around(around.buffer);
    if (!quotas_)
        quotas_.emplace(root_, around.host_group);
    quotas_->look_again();
}

void VmMonitor::set_migration(MigrationWork work)
{
    migration_ = work;
    for (ProcessMeter& process : processes_)
        process.mark_new_threads(work == MigrationWork::Threads);
}

bool VmMonitor::migrates_only(const ProcessMeter& process) const
{
    if (config_.xen) // drover-xen does nothing else
        return process.pid() != config_.model && migration_ != MigrationWork::None;
    return migration_ == MigrationWork::All ||
           (migration_ == MigrationWork::Companion && process.pid() != config_.pid);
}

/// What the guest's threads missed. What a migration waits for no guest misses.
void VmMonitor::sample_threads(VmLoad& load, std::vector<ThreadUse>& threads, double elapsed,
                               Surroundings& around)
{
    quotas_->limit(threads, elapsed, around.buffer);
    for (const ThreadUse& thread : threads)
        load.cpu_wait += thread.is_new ? 0 : thread.missed;
}

void VmMonitor::sample_processes(VmLoad& load, double elapsed, Surroundings& around)
{
    double shared = 0;
    double huge = 0;
    double memfds = 0;
    std::vector<ThreadUse> threads;
    std::erase_if(processes_, [&](ProcessMeter& process) {
        auto usage = process.sample(elapsed, around.buffer);
        if (!usage) {
            gone_ = gone_ || process.pid() == config_.pid;
            return true;
        }
        const bool migrates = migrates_only(process);
        load.cpu += usage->cpu;
        load.cpu_migrating += migrates ? usage->cpu : 0;
        for (ThreadUse& thread : usage->threads) {
            load.cpu_migrating += thread.is_new && !migrates ? thread.run : 0;
            thread.is_new |= migrates;
            threads.push_back(std::move(thread));
        }
        load.resident += static_cast<double>(usage->memory.own);
        load.swapped += static_cast<double>(usage->memory.swapped);
        // The emulator's processes map the same shared memory: the guest's.
        shared = std::max(shared, static_cast<double>(usage->memory.shared));
        huge = std::max(huge, static_cast<double>(usage->memory.huge));
        memfds = std::max(memfds, static_cast<double>(usage->memfds));
        return false;
    });
    sample_threads(load, threads, elapsed, around);
    load.resident += shared;
    load.huge = huge; // of a pool that is apart
    // Of shared memory no file tells what is in swap; what was allocated and is mapped by none of
    // its processes must be, but for little, and never more than the machine has there.
    load.swapped += std::clamp(memfds - shared, 0.0, around.swap_used);
    if (processes_.empty())
        load.gaps.emplace_back("the emulator's process has ended, or cannot be read");
    else if (threads.empty())
        load.gaps.emplace_back("no waiting times: this kernel has no schedstat");
}

VmNicLoad VmMonitor::sample_nic(Nic& nic, double elapsed, Surroundings& around,
                                std::vector<std::string>& gaps)
{
    VmNicLoad load;
    load.id = nic.config.id;
    load.expected = nic.config.expected;
    if (!nic.config.ifname.empty()) {
        if (const Interface* tap = around.network.find(nic.config.ifname))
            sample_tap(*tap, nic, around, load);
        else
            gaps.push_back(load.id + ": there is no interface " + nic.config.ifname);
    } else if (!find_socket(nic, around) || !sample_socket(nic, elapsed, around, load)) {
        gaps.push_back(load.id +
                       ": its traffic cannot be seen: neither a tap nor a TCP connection");
    }
    return load;
}

void VmMonitor::sample_tap(const Interface& tap, const Nic& nic, const Surroundings& around,
                           VmNicLoad& load) const
{
    load.rx = tap.tx;
    load.tx = tap.rx;
    load.drops = tap.tx_drops + tap.rx_drops;
    load.backlog = tap.backlog;
    Flow link_in;
    Flow link_out;
    // What the guest sends is counted before the host may drop it.
    double sent = tap.rx * (1 - tap.rx_loss);
    const Interface* uplink = nic.config.uplink.empty() ? around.network.uplink_of(tap)
                                                        : around.network.find(nic.config.uplink);
    if (uplink) {
        load.uplink = uplink->link.name;
        const double capacity = around.network.capacity(*uplink);
        link_in = {.rate = uplink->rx, .capacity = capacity};
        link_out = {.rate = uplink->tx,
                    .backlog = uplink->backlog,
                    .drops = uplink->tx_drops,
                    .capacity = capacity};
        // Of a queue that guests share, each has what it sends.
        const double offered = uplink->tx / std::max(1 - uplink->tx_loss, 0.001);
        const double share = offered > 0 ? std::min(1.0, sent / offered) : 0;
        load.backlog += uplink->backlog * share;
        load.drops += uplink->tx_drops * share;
        sent *= 1 - uplink->tx_loss;
    }
    load.tx = sent; // achieved, as against expected
    const Flow in = {.rate = tap.tx, .backlog = tap.backlog, .drops = tap.tx_drops};
    const Flow out = {.rate = sent, .offered = tap.rx, .drops = tap.rx_drops};
    load.wants_more =
        demand_unmet(load.expected, in, link_in) || demand_unmet(load.expected, out, link_out);
}

bool VmMonitor::find_socket(Nic& nic, const Surroundings& around) const
{
    if (nic.socket)
        return true;
    std::vector<const TcpSocket*> found;
    for (const TcpSocket& socket : around.connections) {
        const uint16_t port = nic.config.tcp_port;
        if (port != 0 && socket.local_port != port && socket.remote_port != port)
            continue;
        for (const ProcessMeter& process : processes_) {
            const auto& inodes = process.sockets();
            if (std::find(inodes.begin(), inodes.end(), socket.inode) != inodes.end())
                found.push_back(&socket);
        }
    }
    if (found.size() != 1) // of several, none is known to be the one
        return false;
    nic.socket = *found.front();
    nic.sent = Counter();
    nic.received = Counter();
    nic.unsent_before = 0;
    return true;
}

bool VmMonitor::sample_socket(Nic& nic, double elapsed, Surroundings& around, VmNicLoad& load)
{
    const auto socket = around.tcp.read(*nic.socket);
    if (!socket) {
        nic.socket.reset();
        return false;
    }
    load.rx = nic.received.rate(socket->received, elapsed);
    load.tx = nic.sent.rate(socket->sent, elapsed);
    load.backlog = static_cast<double>(socket->unsent);
    // One look may meet bytes on their way; what is there at two looks stands.
    const double standing = std::min(load.backlog, nic.unsent_before);
    nic.unsent_before = load.backlog;
    load.wants_more = demand_unmet(load.expected, {.rate = load.tx, .backlog = standing}, Flow());
    return true;
}

} // namespace drover::balancer
