// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/host/measure/vm_monitor.h"
#include "contrib/balancer/host/vm.h"

#include <functional>

namespace drover::balancer {

/// What of a VM's load only its emulator knows, asked at a slow pace: its memory less the balloon,
/// its disks' counters, its vCPUs, and how much of its memory is written. Loop thread only.
///
/// `monitor` is called when an answer comes, and may say that the VM has gone (null).
using MonitorFinder = std::function<VmMonitor*()>;

/// Cheap: each ten seconds or so.
void ask_vm(Vm& vm, const MonitorFinder& monitor);

/// Begins a measurement of one second (QEMU's calc-dirty-rate, by samples of pages): each minute or
/// so.
void begin_dirty_rate(Vm& vm);

/// Fetches its outcome: two seconds later.
void fetch_dirty_rate(Vm& vm, const MonitorFinder& monitor);

/// Sums over query-blockstats' answer, which is not trusted.
struct DiskCounters {
    uint64_t read = 0;    ///< bytes
    uint64_t written = 0; ///< bytes
};
[[nodiscard]] DiskCounters sum_disks(const Json& blockstats);

} // namespace drover::balancer
