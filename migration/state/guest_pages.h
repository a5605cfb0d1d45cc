// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "util/result.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace drover::state {

constexpr uint64_t frame_size = 4096; ///< bytes
using FrameBytes = std::span<std::byte, frame_size>;

/// Frames of guest-physical memory that follow each other.
struct FrameRange {
    uint64_t first = 0; ///< guest-physical address / 4,096
    uint64_t count = 0;
};

/// A saved guest's memory as the guest sees it. Any thread, one at a time.
class GuestPages {
public:
    virtual ~GuestPages() = default;
    /// Where there is memory, ascending, without overlaps.
    [[nodiscard]] virtual const std::vector<FrameRange>& ranges() const = 0;
    /// What a frame within ranges() holds.
    [[nodiscard]] virtual Status read(uint64_t frame, FrameBytes target) const = 0;
    /// Whether it is known to hold zeroes only, without reading it.
    [[nodiscard]] virtual bool is_zero(uint64_t frame) const = 0;
};

} // namespace drover::state
