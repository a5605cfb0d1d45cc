// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/host/measure/cgroup.h"
#include "contrib/balancer/host/measure/cpu_times.h"
#include "contrib/balancer/host/measure/disk_stats.h"
#include "contrib/balancer/host/measure/huge_pages.h"
#include "contrib/balancer/host/measure/memory_files.h"
#include "contrib/balancer/host/measure/vm_monitor.h"

#include <map>
#include <memory>
#include <optional>

namespace drover::balancer {

/// A part of the machine that stands for a host. 0: of that, all that the machine has.
struct Slice {
    double cores = 0;
    double memory = 0; ///< bytes
    double link = 0;   ///< bytes/s each way
};

struct HostMonitorConfig {
    std::string root = "/"; ///< other than "/" in tests
    std::optional<Slice> slice;
    std::string cgroup; ///< that enforces the slice, as in /proc/PID/cgroup; empty: none does
    /// Network interfaces that count, with their capacity in bytes/s each way (0: found out).
    /// Empty: all that reach other hosts (measure::Network::outward).
    std::map<std::string, double> nics;
    std::string migration_address; ///< numeric, of this host; other texts find no interface
};

/// Measures the machine, or what our own guests use of a slice of it. Loop thread only.
class HostMonitor {
public:
    explicit HostMonitor(HostMonitorConfig config);

    /// Reads what the VMs are measured by, too (`around.swap_used`). To be called before them.
    void begin(const Moment& now, Surroundings& around);

    /// The load of what begin() read and, for a slice, of what the VMs used meanwhile.
    [[nodiscard]] HostLoad finish(const std::vector<VmLoad>& vms, Surroundings& around);

    [[nodiscard]] const HostMonitorConfig& config() const { return config_; }

    /// Whether the one "NIC" is the slice's share of a link, which nothing enforces: the sum of
    /// what the guests send and receive.
    [[nodiscard]] bool has_nominal_link() const
    {
        return config_.nics.empty() && config_.slice && config_.slice->link > 0;
    }

private:
    struct Swap {
        measure::Counter in;
        measure::Counter out;
    };

    void read_cpu(Surroundings& around);
    void read_memory(Surroundings& around);
    void read_pressure(Surroundings& around);
    void read_nics(const Surroundings& around);
    void read_migration_link(const Surroundings& around);
    void add_nic(const Surroundings& around, const measure::Interface& interface);
    void slice_cpu(const std::vector<VmLoad>& vms, const measure::CgroupUsage& group);
    void slice_memory(const std::vector<VmLoad>& vms, const measure::CgroupUsage& group);
    void slice_swap_rates(const measure::CgroupUsage& group);
    void slice_pressure(Surroundings& around);
    void slice_link(const std::vector<VmLoad>& vms);
    void gap(std::string text) { load_.gaps.push_back(std::move(text)); }

    HostMonitorConfig config_;
    double ticks_;
    double page_;
    measure::ProcFile stat_;
    measure::ProcFile meminfo_;
    measure::ProcFile vmstat_;
    measure::HugePages huge_pages_;
    measure::ProcFile diskstats_;
    measure::ProcFile cpu_pressure_;
    measure::ProcFile memory_pressure_;
    measure::ProcFile io_pressure_;
    std::unique_ptr<measure::Cgroup> cgroup_;
    std::string migration_interface_; // that has the address; empty: none
    unsigned look_in_ = 0;            // samples until it is looked for again

    measure::Elapsed elapsed_clock_;
    double elapsed_ = 0;
    HostLoad load_; // in the making
    measure::Counter busy_;
    measure::Counter steal_;
    std::map<unsigned, measure::Counter> core_busy_;
    Swap swap_pages_;
    measure::DiskRates disks_;
    measure::Counter group_cpu_;
    measure::Counter group_throttled_;
    Swap group_pages_;
    measure::Counter group_faults_;
    std::optional<double> slice_swapped_; // bytes, in the sample before
};

} // namespace drover::balancer
