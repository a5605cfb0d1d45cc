// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/host/host_vms.h"
#include "util/clock.h"

namespace drover::balancer {

struct HostVms::Entry {
    explicit Entry(VmRecord record, Vm::Callbacks callbacks)
        : vm(std::move(record), std::move(callbacks)), started(drover::Clock::now())
    {
    }
    Vm vm;
    std::string shown; ///< the state that was announced last
    Answer waiting;    ///< of vm-create or vm-adopt, for its monitor
    loop::Source limit;
    loop::Source grace;  ///< it was told to end
    bool is_new = false; ///< it has never run: vm-create waits to see
    bool ending = false; ///< gone, and about to be destroyed
    // Of Xen's:
    bool retired = false;    ///< its guest is not, or no more, for this host
    bool served = true;      ///< false: its process ended, and what became of its domain is asked
    uint64_t judge_at = 0;   ///< what XenWatcher::told_times() must be for that
    bool destroying = false; ///< its domain
    TimePoint started;       ///< its process
    loop::Source handover;   ///< from the process that took the guest in
};

} // namespace drover::balancer
