// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/host/measure/vm_monitor.h"
#include "contrib/balancer/host/vm.h"

#include <functional>

namespace drover::balancer {

/// What of a VM's load only its emulator knows, asked at a slow pace: its memory less the balloon,
/// its disks' counters, and its vCPUs. Loop thread only.
///
/// Nothing is asked whose answer changes what is measured. QEMU's calc-dirty-rate reads the guest's
/// RAM, and to read a hole of a shared file is to fill it: an idle guest would be resident as a
/// whole within hours. How much a guest writes is told by its forecast, asked before a move.
///
/// `monitor` is called when an answer comes, and may say that the VM has gone (null).
using MonitorFinder = std::function<VmMonitor*()>;

/// Cheap: each ten seconds or so.
void ask_vm(Vm& vm, const MonitorFinder& monitor);

/// Sums over query-blockstats' answer, which is not trusted.
struct DiskCounters {
    uint64_t read = 0;    ///< bytes
    uint64_t written = 0; ///< bytes
};
[[nodiscard]] DiskCounters sum_disks(const Json& blockstats);

} // namespace drover::balancer
