// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/ram/page_bitmap.h"
#include "util/result.h"

#include <span>
#include <string_view>

namespace drover {

/// Answers "which pages were written since I last asked?" for the RAM blocks of one guest.
///
/// The rule: a tracker calls clean only what it saw present and clean. What it could not see (a
/// page that the kernel has swapped out or taken out of the page tables for a moment, and with it
/// the mark of a write) counts as written, unless it is a hole and so never held anything. So a
/// tracker never misses a write; it may report a page that was not written, or that is a hole.
///
/// start(), collect_all() and stop() are called by one thread at a time; collect() may be called by
/// several threads at once for ranges that are apart.
class DirtyTracker {
public:
    virtual ~DirtyTracker() = default;

    [[nodiscard]] virtual std::string_view name() const = 0;

    /// Whether start() would work for this guest as it is now; the error says what stands against
    /// it, and what to do.
    [[nodiscard]] virtual Status can_start() const { return {}; }

    /// From its return on every write is seen; what was written before is not reported.
    [[nodiscard]] virtual Status start() = 0;

    /// Whether many pages of the block are reported that were not written (they share a huge page
    /// with one that was, or were out of sight): then it pays to compare them with what was sent.
    [[nodiscard]] virtual bool is_coarse(size_t /*block*/) const { return false; }

    /// Whether collect() works. Where it does, a page can be asked for just before it is sent, so
    /// that what was written between the round's start and that moment is not sent twice.
    [[nodiscard]] virtual bool collects_ranges() const = 0;

    /// Sets in `dirty` the pages of [first, end) of block `block` that were written since they were
    /// last collected, and forgets them, as one atomic step for each page. `first` and `end` are
    /// multiples of 64, or the block's end.
    [[nodiscard]] virtual Status collect(size_t block, uint64_t first, uint64_t end,
                                         PageBitmap& dirty) = 0;

    /// The same for all blocks; one bitmap a block, in their order.
    [[nodiscard]] virtual Status collect_all(std::span<PageBitmap> dirty) = 0;

    /// The guest is at its full speed again. May be called at any time, and more than once.
    virtual void stop() = 0;
};

} // namespace drover
