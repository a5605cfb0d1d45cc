// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <vector>

namespace drover {

/// One bit a page of a RAM block. Not thread-safe as a whole, but threads may work at once on
/// ranges whose bounds are multiples of 64 pages, since such ranges share no word.
class PageBitmap {
public:
    PageBitmap() = default;
    explicit PageBitmap(uint64_t pages) : pages_(pages), words_((pages + 63) / 64) {}

    [[nodiscard]] uint64_t size() const { return pages_; }
    [[nodiscard]] bool test(uint64_t page) const { return words_[page / 64] >> (page % 64) & 1; }
    void set(uint64_t page) { words_[page / 64] |= 1ULL << (page % 64); }
    void clear(uint64_t page) { words_[page / 64] &= ~(1ULL << (page % 64)); }
    void set_range(uint64_t first, uint64_t count);
    void clear_range(uint64_t first, uint64_t count);

    /// Sets what is set in `other` within [first, end), which are multiples of 64, or the end.
    void add(const PageBitmap& other, uint64_t first, uint64_t end);

    /// The 64 pages from `page`, a multiple of 64, on; the first one is bit 0.
    [[nodiscard]] uint64_t word(uint64_t page) const { return words_[page / 64]; }
    void set_word(uint64_t page, uint64_t bits) { words_[page / 64] |= bits; }

    /// Set bits in [first, end).
    [[nodiscard]] uint64_t count(uint64_t first, uint64_t end) const;
    [[nodiscard]] uint64_t count() const { return count(0, pages_); }

    /// The first set (clear) page in [from, end), or `end`.
    [[nodiscard]] uint64_t next_set(uint64_t from, uint64_t end) const;
    [[nodiscard]] uint64_t next_clear(uint64_t from, uint64_t end) const;

private:
    uint64_t pages_ = 0;
    std::vector<uint64_t> words_;
};

} // namespace drover
