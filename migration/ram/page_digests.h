// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/ram/ram_block.h"
#include "util/result.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace drover {

/// A digest of guest RAM that is kept page by page: the sum, modulo 2^64, of what each page adds to
/// it by its contents and its place; a page of zeros adds nothing. So a page that changes costs
/// that page alone, and two sides that have the same RAM have the same sum.
///
/// Finds mistakes, not forgers. 8 bytes a page, of which only those of pages that are not zero take
/// memory. Threads may work at once on pages that are apart.
class PageDigests {
public:
    [[nodiscard]] static Result<PageDigests> create(std::span<const RamBlock> ram);

    /// The page holds what is at `data` (ram_page_size long) now: says by how much the sum grows,
    /// modulo 2^64.
    [[nodiscard]] uint64_t note(size_t block, uint64_t page, const std::byte* data);
    [[nodiscard]] uint64_t note_zero(size_t block, uint64_t page);

    /// Whether the page is what was noted last.
    [[nodiscard]] bool is_same(size_t block, uint64_t page, const std::byte* data) const;

private:
    struct Unmap {
        size_t bytes = 0;
        void operator()(uint64_t* digests) const;
    };
    std::vector<std::unique_ptr<uint64_t[], Unmap>> blocks_;
};

} // namespace drover
