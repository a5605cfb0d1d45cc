// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/state/machine_state.h"

namespace drover::xen {

/// The hypervisor's counters (TSC; the ACPI timer of a guest that was born on Xen) go on while the
/// guest stands still, until they are read; the device model's clock, by which the ACPI timer of a
/// guest counts that was born on QEMU, stands from its stop on. A guest that sees the two apart by
/// half a millisecond takes its TSC for unstable, and for good.
///
/// Sets the hypervisor's back to the device model's stop, which was `ns` before they were read.
void set_back_to_stop(state::MachineState& machine, int64_t ns);

} // namespace drover::xen
