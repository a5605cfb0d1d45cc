// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/ram/page_bitmap.h"
#include "migration/ram/ram_block.h"
#include "util/result.h"

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

namespace drover {

/// Follows where guest RAM holds data while a guest is migrated that can give memory back: what a
/// balloon punches out of the file does not show as written.
///
/// The guest's pause must not grow with what is not its fault, and the last look is in the pause.
/// So whether anything has changed is asked first, which is one system call a block; and where
/// something has, stripes are looked at one by one, by all threads at once, each at the cost of
/// its own size. SEEK_HOLE has no place there: wherever it begins and whatever is asked of it, it
/// walks on to the next hole of the *file*, under the file's lock, so that a walk stripe by stripe
/// is quadratic in the size of RAM.
class HoleFinder {
public:
    /// `ram` must outlive it.
    explicit HoleFinder(std::span<const RamBlock> ram);

    /// The first look, one walk of the block: `visit` as of for_each_data(). By one thread, and
    /// before anything else.
    [[nodiscard]] Status first_look(size_t block,
                                    const std::function<void(uint64_t, uint64_t)>& visit);

    /// Whether a page of the block may have become a hole, or the other way round, since it was
    /// last looked at; if so, look() at all of its stripes brings it up to date. By one thread,
    /// while no other uses the block.
    [[nodiscard]] Result<bool> has_changed(size_t block);

    /// These pages, [first, end) of `written`, were written, so that they hold data now. Any thread
    /// for its own stripes, like look().
    void note_written(size_t block, const PageBitmap& written, uint64_t first, uint64_t end)
    {
        blocks_[block].data.add(written, first, end);
    }

    /// Looks at [first, end), multiples of 64 or the block's end: then data() is right there.
    void look(size_t block, uint64_t first, uint64_t end);

    /// Where there is data, as far as is known: at least what holds some, but for pages that were
    /// written without note_written() having been told.
    [[nodiscard]] const PageBitmap& data(size_t block) const { return blocks_[block].data; }

private:
    struct Block {
        PageBitmap data;
        /// Pages that the file has and `data` has not: what nobody can explain. While that stays
        /// the same, nothing has changed.
        int64_t unexplained = 0;
        std::atomic<int64_t> found{0};      ///< by look(), since unexplained was last computed
        std::atomic<uint64_t> looked_at{0}; ///< likewise, pages
        bool looking = false;               ///< what look() is to bring up to date
        bool counts = false;                ///< count_held_pages() does
    };

    [[nodiscard]] Result<int64_t> unexplained(size_t block) const;
    [[nodiscard]] Status walk(size_t block, const std::function<void(uint64_t, uint64_t)>& visit);
    void search(size_t block, uint64_t first, uint64_t end);

    std::span<const RamBlock> ram_;
    std::unique_ptr<Block[]> blocks_; ///< as many as in ram_
};

} // namespace drover
