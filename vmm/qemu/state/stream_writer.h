// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/state/device.h"
#include "util/byte_sink.h"
#include "vmm/qemu/state/block_pages.h"

#include <map>

namespace drover::qemu {

/// A migration stream of version 3 for the QEMU that made another one, before its guest ran.
struct StreamPlan {
    const QemuState& layout; ///< that stream
    const ByteSource& layout_source;
    std::span<const state::Device> sections;
    /// Contents by the names of `layout`'s blocks; one that is not here holds what it holds there.
    std::map<std::string, const BlockPages*> ram;
    /// Whether the sections are described behind the stream, for who reads it: QEMU skips that.
    bool described = true;
};

/// Streams it, so that memory is bounded whatever the guest's size. The caller flushes.
[[nodiscard]] Status write_qemu_stream(const StreamPlan& plan, ByteSink& sink);

/// What stands behind a stream: the names, types and sizes of the sections' fields.
[[nodiscard]] std::string describe_sections(std::span<const state::Device> sections);

} // namespace drover::qemu
