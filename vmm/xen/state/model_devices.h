// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "vmm/xen/state/xen_machine.h"

/// The device model's sections: devices, and what of the neutral state's other parts it keeps.
namespace drover::xen {

/// Fills in devices, acpi_pm, clocks, and the rest of rtc and pci_routing, which are there.
[[nodiscard]] Status read_model(std::span<const ModelSection> sections,
                                state::MachineState& machine, std::vector<std::string>& told);

[[nodiscard]] Result<std::vector<ModelSection>> write_model(const state::MachineState& machine,
                                                            XenFit& fit);

void judge_devices(const state::MachineState& machine, XenFit& fit);

} // namespace drover::xen
