// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/state/acpi_pm.h"
#include "migration/state/clocks.h"
#include "migration/state/device.h"
#include "migration/state/fw_cfg.h"
#include "migration/state/ioapic.h"
#include "migration/state/lapic.h"
#include "migration/state/memory.h"
#include "migration/state/pci_routing.h"
#include "migration/state/pic.h"
#include "migration/state/pit.h"
#include "migration/state/rtc.h"
#include "migration/state/serial.h"
#include "migration/state/vcpu.h"
#include "migration/state/virtio.h"

#include <optional>

namespace drover::state {

/// All of a paused machine but its RAM and its disks, as no hypervisor has it:
/// docs/machine-state.md. What a machine does not have is not there.
struct MachineState {
    std::vector<Vcpu> vcpus;   ///< in the order of their numbers, as the next
    std::vector<Lapic> lapics; ///< one a vCPU
    std::optional<IoApic> ioapic;
    std::optional<Pic> pic;
    std::optional<Pit> pit;
    std::optional<Rtc> rtc;
    std::optional<Clocks> clocks;
    std::optional<AcpiPm> acpi_pm;
    std::optional<PciRouting> pci_routing;
    std::vector<Memory> memory;
    std::vector<Serial> serials;
    std::optional<FwCfg> fw_cfg;
    std::vector<Virtio> virtio;
    std::vector<Device> devices; ///< in the order in which they are to be loaded
};

/// All of its parts behind each other, as they are sent and stored: docs/machine-state.md.
[[nodiscard]] std::vector<std::byte> encode_machine(const MachineState& machine);
/// Of bytes that nobody vouches for. Fails on a kind or a version that is not known here, by name:
/// a guest that lacks a part would be another guest.
[[nodiscard]] Result<MachineState> decode_machine(std::span<const std::byte> bytes);

/// For people and programs: an object with a member a kind.
[[nodiscard]] Json to_json(const MachineState& machine);

} // namespace drover::state
