// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/ram/ram_block.h"

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

namespace drover {

/// RAM is cut into stripes, and each stripe belongs to one data channel for the whole session.
/// So all that is ever sent of a page arrives in order, without a barrier between rounds, and no
/// two threads ever touch the same word of a page bitmap.
inline constexpr uint64_t stripe_pages = 512; // 2 MiB: one page-table page, for the tracker

struct Stripe {
    size_t block = 0;
    uint64_t first = 0; ///< page
    uint64_t end = 0;   ///< page, exclusive
};

[[nodiscard]] inline size_t stripe_channel(size_t block, uint64_t page, size_t channels)
{
    return (block + page / stripe_pages) % channels;
}

/// The stripes of one channel, in ascending order.
[[nodiscard]] inline std::vector<Stripe> stripes_of(std::span<const RamBlock> ram, size_t channel,
                                                    size_t channels)
{
    std::vector<Stripe> stripes;
    for (size_t block = 0; block < ram.size(); ++block)
        for (uint64_t first = 0; first < ram[block].pages(); first += stripe_pages)
            if (stripe_channel(block, first, channels) == channel)
                stripes.push_back(
                    {block, first, std::min(first + stripe_pages, ram[block].pages())});
    return stripes;
}

} // namespace drover
