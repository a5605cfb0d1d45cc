// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/ram/page_bitmap.h"

#include "util/defect.h"

#include <algorithm>
#include <bit>

namespace drover {

namespace {

/// The bits of [first, end) that lie in the word which holds `first`.
uint64_t word_mask(uint64_t first, uint64_t end)
{
    const uint64_t low = ~0ULL << (first % 64);
    const uint64_t word_end = (first / 64 + 1) * 64;
    return end >= word_end ? low : low & ~(~0ULL << (end % 64));
}

uint64_t next_word(uint64_t page)
{
    return (page / 64 + 1) * 64;
}

} // namespace

void PageBitmap::set_range(uint64_t first, uint64_t count)
{
    const uint64_t end = first + count;
    require(end <= pages_, "that the range lies in the bitmap");
    for (uint64_t page = first; page < end; page = next_word(page))
        words_[page / 64] |= word_mask(page, end);
}

void PageBitmap::clear_range(uint64_t first, uint64_t count)
{
    const uint64_t end = first + count;
    require(end <= pages_, "that the range lies in the bitmap");
    for (uint64_t page = first; page < end; page = next_word(page))
        words_[page / 64] &= ~word_mask(page, end);
}

void PageBitmap::add(const PageBitmap& other, uint64_t first, uint64_t end)
{
    for (uint64_t word = first / 64; word < (end + 63) / 64; ++word)
        words_[word] |= other.words_[word];
}

uint64_t PageBitmap::count(uint64_t first, uint64_t end) const
{
    uint64_t total = 0;
    for (uint64_t page = first; page < end; page = next_word(page))
        total += static_cast<uint64_t>(std::popcount(words_[page / 64] & word_mask(page, end)));
    return total;
}

uint64_t PageBitmap::next_set(uint64_t from, uint64_t end) const
{
    for (uint64_t page = from; page < end; page = next_word(page)) {
        const uint64_t bits = words_[page / 64] & word_mask(page, end);
        if (bits != 0)
            return page / 64 * 64 + static_cast<uint64_t>(std::countr_zero(bits));
    }
    return end;
}

uint64_t PageBitmap::next_clear(uint64_t from, uint64_t end) const
{
    for (uint64_t page = from; page < end; page = next_word(page)) {
        const uint64_t bits = ~words_[page / 64] & word_mask(page, end);
        if (bits != 0)
            return page / 64 * 64 + static_cast<uint64_t>(std::countr_zero(bits));
    }
    return end;
}

} // namespace drover
