// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/ram/page_bitmap.h"
#include "migration/ram/ram_block.h"
#include "migration/stream/postcopy.h"

#include <functional>
#include <span>
#include <vector>

/// Between page bitmaps and the stream's Missing frames.
namespace drover {

/// Adds the stripe that begins at page `first` and ends before `end`, if some of it is set.
void append_missing(const PageBitmap& pages, uint64_t first, uint64_t end,
                    std::vector<stream::MissingStripe>& out);

/// Calls `send` for each frame that it takes to tell all of `pages`, one bitmap a block.
void tell_missing(std::span<const PageBitmap> pages,
                  const std::function<void(const stream::MissingPages&)>& send);

/// Whether all that a peer names exists.
[[nodiscard]] Status check_missing(const stream::MissingPages& missing,
                                   std::span<const RamBlock> ram);

/// Sets in `pages` what was checked.
void add_missing(const stream::MissingPages& missing, PageBitmap& pages);

[[nodiscard]] uint64_t count_pages(std::span<const PageBitmap> pages);

} // namespace drover
