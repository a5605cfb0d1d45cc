// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/host/host_vms.h"

namespace drover::balancer {

struct HostVms::Entry {
    explicit Entry(VmRecord record, Vm::Callbacks callbacks)
        : vm(std::move(record), std::move(callbacks))
    {
    }
    Vm vm;
    std::string shown; ///< the state that was announced last
    Answer waiting;    ///< of vm-create or vm-adopt, for its monitor
    loop::Source limit;
    loop::Source grace;  ///< it was told to end
    bool is_new = false; ///< it has never run: vm-create waits to see
    bool ending = false; ///< gone, and about to be destroyed
};

} // namespace drover::balancer
