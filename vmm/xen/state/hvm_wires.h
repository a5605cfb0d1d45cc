// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/state/pci_routing.h"
#include "vmm/xen/state/hvm_chip_layout.h"

/// Who asserts which interrupt: Xen keeps the wires' state, QEMU what the controllers last saw.
namespace drover::xen {

[[nodiscard]] std::vector<state::PciLines> pci_lines_of(const HvmPciIrq& wires);
[[nodiscard]] HvmPciIrq pci_wires_of(const std::vector<state::PciLines>& lines);

/// The ISA interrupts that PCI devices assert by way of the router: a bit each.
[[nodiscard]] uint16_t routed_lines(const state::PciRouting& routing);
/// The IOAPIC's pins above the ISA ones, where Xen leads PCI's wires too.
[[nodiscard]] uint64_t direct_pins(const std::vector<state::PciLines>& lines);

/// What of the ISA lines a device holds itself.
[[nodiscard]] uint16_t isa_wires_of(uint16_t seen, const state::PciRouting& routing);

constexpr unsigned pci_pins = 4;

} // namespace drover::xen
