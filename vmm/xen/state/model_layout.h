// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/state/device.h"
#include "vmm/xen/state/model_sections.h"
#include "vmm/xen/state/xen_fit.h"

#include <string_view>

/// The layouts of those of the device model's sections whose contents have to be known. QEMU's own
/// names: it describes the same layout where it describes its stream (pc with
/// PIIX4_PM.acpi-pci-hotplug-with-bridge-support=off, 7.2 to 10.0).
namespace drover::xen {

struct ModelField {
    std::string_view name;
    std::string_view type;
    uint32_t size;
    uint32_t count = 1;
    bool needed = true; ///< otherwise zero where the guest's device has it not
};

[[nodiscard]] std::span<const ModelField> fw_cfg_layout();
[[nodiscard]] std::span<const ModelField> piix4_pm_layout();

/// A section with names for its fields. Fails if it has another length.
[[nodiscard]] Result<state::Device> name_fields(const ModelSection& section,
                                                std::span<const ModelField> layout);

/// The fields of `device` as the layout has them. What has no place and is not zero is told.
[[nodiscard]] Result<std::vector<std::byte>>
lay_out(const state::Device& device, std::span<const ModelField> layout, XenFit& fit);

} // namespace drover::xen
