// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/state/machine_state.h"
#include "vmm/xen/state/xen_fit.h"
#include "vmm/xen/state/xen_state.h"

namespace drover::xen {

struct ReadMachine {
    state::MachineState machine;
    /// What the file holds of it and the neutral state does not, by name with the reason why that
    /// is safe, or "not known here": with such a field the guest must not be moved.
    std::vector<std::string> not_carried;
};

/// The machine that is in a file of Xen's as the neutral state.
[[nodiscard]] Result<ReadMachine> read_machine(const XenState& state);

struct WrittenMachine {
    HvmContext hvm;
    std::vector<ModelSection> model;
    std::vector<std::string> changes; ///< what is not as it was, for the guest's owner
};

/// The neutral state as Xen's records and its device model's sections. Fails if something has no
/// place there: what judge_machine() calls impossible.
[[nodiscard]] Result<WrittenMachine> write_machine(const state::MachineState& machine);

/// What would not work, or otherwise, on Xen: without doing anything.
[[nodiscard]] XenFit judge_machine(const state::MachineState& machine);

} // namespace drover::xen
