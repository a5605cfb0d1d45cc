// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/state/acpi_pm.h"
#include "migration/state/device.h"
#include "migration/state/pci_routing.h"

#include <optional>
#include <span>

namespace drover::qemu {

/// The machine `pc` has its interrupt router and its power management in these; other machines have
/// neither, and then nothing is read or written here.
constexpr std::string_view piix3_name = "0000:00:01.0/PIIX3";
constexpr std::string_view piix4_pm_name = "0000:00:01.3/piix4_pm";

/// A PCI device's section begins with the version of that form, its configuration, and which of its
/// four interrupt lines it asserts. Nothing if the section is not one of bus 0's.
struct PciFunction {
    uint8_t devfn = 0;
    std::vector<uint8_t> configuration; ///< 256 bytes
    uint8_t asserted = 0;               ///< bit 0 is INTA
};
[[nodiscard]] std::optional<PciFunction> pci_function_of(const state::Device& device);

/// From sections "PCIHost" and PIIX3, and the devices' own lines.
[[nodiscard]] Result<state::PciRouting> read_routing(std::span<const state::Device> devices);

/// Into "PCIHost", "PCIBUS" and PIIX3, whose configuration must already be the guest's.
[[nodiscard]] Status write_routing(const state::PciRouting& routing,
                                   std::span<state::Device> devices);

[[nodiscard]] Result<state::AcpiPm> read_acpi_pm(const state::Device& piix4_pm);
[[nodiscard]] Status write_acpi_pm(const state::AcpiPm& pm, state::Device& piix4_pm);

} // namespace drover::qemu
