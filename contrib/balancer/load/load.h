// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "monitor/json.h"

#include <string>
#include <vector>

/// What droverd measures of its host and of the guests there, and everybody else speaks of. Rates
/// are means over the second before; processor time is in cores (1.5: one and a half), memory in
/// bytes, rates in bytes/s, times in seconds. What cannot be had here is 0, and `gaps` says why.
namespace drover::balancer {

/// The kernel's pressure stall information (Documentation/accounting/psi.rst): the part of the last
/// ten seconds in which some, or all, tasks waited, 0 to 1.
struct Pressure {
    double some = 0;
    double full = 0;
};

/// One of the host's network interfaces that reach other hosts.
struct NicLoad {
    std::string name;
    double capacity = 0; ///< each direction; 0: unknown
    double rx = 0;
    double tx = 0;
    double backlog = 0; ///< bytes that wait in its queueing discipline
    double drops = 0;   ///< packets/s, at sending
};

struct DiskLoad {
    std::string name;
    double read = 0;
    double write = 0;
    double latency = 0; ///< mean of what ended in that second
    double busy = 0;    ///< part of the time with something in flight, 0 to 1
};

struct HostLoad {
    double time = 0;    ///< seconds since 1970 (UTC)
    bool slice = false; ///< of a slice of the machine: what our own guests use of it
    double cores = 0;   ///< capacity
    double cpu_busy = 0;
    double cpu_steal = 0;     ///< taken by the hypervisor below us, or by the slice's quota
    double cpu_migrating = 0; ///< of cpu_busy: of migrations, in either direction
    std::vector<double> cpu_by_core;
    double memory_total = 0;
    double memory_available = 0;
    double huge_total = 0; ///< pools of huge pages, which are no part of memory_total
    double huge_free = 0;
    double swap_total = 0;
    double swap_used = 0;
    double swap_in = 0;
    double swap_out = 0;
    Pressure cpu_pressure;
    Pressure memory_pressure;
    Pressure io_pressure;
    std::vector<NicLoad> nics;
    std::string migration_nic; ///< by which migrations leave, one of `nics` or not; empty: unknown
    double migration_capacity = 0; ///< that one's; 0: unknown
    std::vector<DiskLoad> disks;
    std::vector<std::string> gaps; ///< in words
};

/// One of a guest's network interfaces, seen from the guest: tx is what it sends and gets through.
struct VmNicLoad {
    std::string id;      ///< of the netdev
    double expected = 0; ///< bytes/s that were promised, each direction; 0: nothing
    double rx = 0;
    double tx = 0;
    double backlog = 0;      ///< bytes that wait on the host for it, or because of it
    double drops = 0;        ///< packets/s, both directions
    std::string uplink;      ///< of the host, by which it leaves; empty: unknown
    bool wants_more = false; ///< it would use more if it got more (demand, not supply, is higher)
};

struct VmLoad {
    std::string name;
    double time = 0;
    unsigned vcpus = 0;
    double cpu = 0;           ///< of the vCPUs and of the emulator
    double cpu_wait = 0;      ///< cores that its threads waited for and did not get
    double cpu_migrating = 0; ///< of cpu: of its migration, which is not the guest's demand
    double memory = 0;        ///< the guest's RAM as it is now: its size less the balloon
    double resident = 0;      ///< of the emulator, without huge pages
    double huge = 0;          ///< huge pages of hugetlbfs
    double swapped = 0;
    double dirty_rate = 0; ///< bytes/s of pages written; 0 until it was measured
    double disk_read = 0;
    double disk_write = 0;
    std::vector<VmNicLoad> nics;
    std::vector<std::string> gaps;
};

/// As query-host-load and query-vm-load show them (docs/balancer-qmp.md).
[[nodiscard]] Json to_json(const HostLoad& load);
[[nodiscard]] Json to_json(const VmLoad& load);

/// From a peer that is not trusted: what is missing or no finite number of 0 or more is 0.
[[nodiscard]] HostLoad host_load_from_json(const Json& json);
[[nodiscard]] VmLoad vm_load_from_json(const Json& json);

} // namespace drover::balancer
