// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/state/machine_state.h"
#include "vmm/xen/state/hvm_chip_layout.h"
#include "vmm/xen/state/xen_fit.h"

/// What a domain has once: interrupt controllers and their wires, PIT, RTC, HPET.
namespace drover::xen {

/// Fills in pic, ioapic, pit, rtc and pci_routing (without what the device model knows of the last
/// two). A HPET that counts is refused.
[[nodiscard]] Status read_chips(const HvmContext& context, state::MachineState& machine);
void write_chips(const state::MachineState& machine, HvmContext& context);
void judge_chips(const state::MachineState& machine, bool born_on_xen, XenFit& fit);

/// Of a guest that has the tables of Xen's firmware: its power management is at Xen's ports.
[[nodiscard]] bool is_born_on_xen(const state::MachineState& machine);
constexpr uint16_t xen_pm_port = 0xb000;
constexpr uint16_t qemu_pm_port = 0x600;

} // namespace drover::xen
