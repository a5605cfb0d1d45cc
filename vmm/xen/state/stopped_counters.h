// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/state/machine_state.h"
#include "vmm/xen/state/hvm_records.h"

namespace drover::xen {

/// The hypervisor's counters (TSC; the ACPI timer of a guest that was born on Xen) go on while the
/// guest stands still, until they are read; the device model's clock, by which the ACPI timer of a
/// guest counts that was born on QEMU, stands from its stop on. A guest that sees the two apart by
/// half a millisecond takes its TSC for unstable, and for good.
///
/// Sets the hypervisor's back to the device model's stop, which was `ns` before they were read.
void set_back_to_stop(state::MachineState& machine, int64_t ns);

/// Of a domain's state what has to be given to it again for its TSC to be `ns` further on (or,
/// below 0, further back) than it stands there: the vCPUs' own records alone. Devices, which go on
/// by then, may have changed what is in the others.
[[nodiscard]] Result<HvmContext> with_tsc_moved(const HvmContext& context, int64_t ns);

} // namespace drover::xen
