// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/state/device.h"
#include "util/result.h"

#include <optional>

namespace drover::qemu {

/// A guest that was born on Xen has its ACPI tables at 0xfc000000 and its SMBIOS ones at
/// 0xfc100000, where Xen has memory for them and QEMU's machines have none. A device gives it to
/// them: its memory, the block of this name, lies where that device's window is put. On QEMU's
/// command line it is
///   -object memory-backend-ram,id=acpihole,size=2M
///   -device ivshmem-plain,memdev=acpihole,master=on
constexpr std::string_view acpi_hole_block = "acpihole";
constexpr uint64_t acpi_hole_frame = 0xfc000; ///< the first of its frames
constexpr const char* acpi_hole_options = "-object memory-backend-ram,id=acpihole,size=2M -device "
                                          "ivshmem-plain,memdev=acpihole,master=on";

/// Whether a block of QEMU's RAM is that one; a device's has the device's path before its name.
[[nodiscard]] bool is_acpi_hole(std::string_view block);

/// Takes that device's section out of a layout, its window at its place; nothing if there is none.
[[nodiscard]] Result<std::optional<state::Device>>
take_acpi_hole(std::vector<state::Device>& layout);

} // namespace drover::qemu
