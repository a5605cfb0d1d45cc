// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/state/device.h"
#include "vmm/qemu/state/qemu_state.h"

namespace drover::qemu {

/// Names of types in state::DeviceField that QEMU's own description does not have.
constexpr std::string_view subsection_type = "subsection"; ///< the value is its version, 4 bytes
constexpr std::string_view opaque_type = "opaque"; ///< all of a section that nobody described

/// A section as a neutral device: its plain fields in the order of the stream, each named with what
/// it is in ("parent_obj/config[0]"). A subsection is a field of its own, before its fields.
[[nodiscard]] Result<state::Device> device_of(const SavedSection& section,
                                              const ByteSource& source);

/// A device without a description: one field of type "opaque".
[[nodiscard]] state::Device opaque_device(std::string name, uint32_t instance, uint32_t version,
                                          std::span<const std::byte> bytes);

/// The section's contents as QEMU's stream has them: what device_of() was made from.
[[nodiscard]] std::vector<std::byte> device_bytes(const state::Device& device);

/// The same, behind what is there.
void append_bytes(const state::Device& device, std::vector<std::byte>& out);

/// The field of this name, or null.
[[nodiscard]] const state::DeviceField* find_field(const state::Device& device,
                                                   std::string_view name);

} // namespace drover::qemu
