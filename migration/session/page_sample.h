// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/policy/statistics.h"
#include "migration/ram/page_bitmap.h"
#include "migration/ram/ram_block.h"

#include <array>
#include <cstddef>
#include <span>
#include <vector>

namespace drover {

/// Some hundred pages of a guest, spread evenly over those that hold data: what they hold, and how
/// much of them changes when they are written again. One thread.
class PageSample {
public:
    explicit PageSample(std::span<const RamBlock> ram) : ram_(ram) {}

    /// `data`, one bitmap a block, are the pages that hold data, `count` in all.
    [[nodiscard]] Status take(std::span<const PageBitmap> data, uint64_t count);
    /// Those of them that are `dirty` were written since they were last looked at.
    [[nodiscard]] Status compare(std::span<const PageBitmap> dirty);

    [[nodiscard]] PageContents contents() const { return contents_; }

private:
    struct Page {
        size_t block = 0;
        uint64_t number = 0;
        std::array<std::byte, ram_page_size> content;
    };
    void look_into();

    std::span<const RamBlock> ram_;
    std::vector<Page> pages_;
    PageContents contents_;
    uint64_t changed_bytes_ = 0;
    uint64_t delta_bytes_ = 0;
};

} // namespace drover
