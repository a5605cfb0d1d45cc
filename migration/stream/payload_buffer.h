// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <span>

namespace drover::stream {

/// Memory for one frame's payload after the other. It only grows (up to the largest frame's cap),
/// and is not cleared between frames: a vector's resize would zero megabytes that the next read
/// overwrites.
class PayloadBuffer {
public:
    /// `size` bytes of unspecified content; earlier spans become invalid.
    [[nodiscard]] std::span<std::byte> prepare(size_t size)
    {
        if (size > capacity_) {
            const size_t grown = std::max(size, std::max<size_t>(4096, capacity_ * 2));
            memory_ = std::make_unique_for_overwrite<std::byte[]>(grown);
            capacity_ = grown;
        }
        return {memory_.get(), size};
    }

private:
    std::unique_ptr<std::byte[]> memory_;
    size_t capacity_ = 0;
};

} // namespace drover::stream
