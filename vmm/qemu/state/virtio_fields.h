// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/state/device.h"
#include "migration/state/virtio.h"
#include "util/result.h"

#include <optional>
#include <span>

namespace drover::qemu {

/// What QEMU calls the section of such a device ("0000:00:04.0/virtio-blk"), and its version.
[[nodiscard]] std::string virtio_section(const state::Virtio& device);
[[nodiscard]] uint32_t virtio_section_version(state::VirtioKind kind);

/// A section of a virtio device's, in words of the specification. Nothing if it is of another kind
/// of device, or if writing it would not give the same bytes again: packed rings, other versions, a
/// driver's values in registers of queues that there are not. Such a section goes on as a device of
/// QEMU's, as it is.
[[nodiscard]] std::optional<state::Virtio> read_virtio(std::string_view section, uint32_t version,
                                                       std::span<const std::byte> contents);
[[nodiscard]] std::optional<state::Virtio> read_virtio(const state::Device& section);

/// How long such a section's contents are that `bytes` begin with. Nothing if they have not the
/// form.
[[nodiscard]] std::optional<size_t> virtio_size(std::string_view section, uint32_t version,
                                                std::span<const std::byte> bytes);

/// As QEMU loads it. Fails if the part is none that a device can have: it may come from anybody.
[[nodiscard]] Result<std::vector<std::byte>> virtio_bytes(const state::Virtio& device);

/// Into the section that the QEMU that is to load it has saved of its own device. Fails if that one
/// is another, by what is different.
[[nodiscard]] Status write_virtio(const state::Virtio& device, state::Device& section);

} // namespace drover::qemu
