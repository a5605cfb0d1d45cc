// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/ram/ram_block.h"
#include "util/result.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace drover {

/// What was last sent of each page, as a hash: for RAM whose tracker reports pages that were not
/// written (one byte written to a huge page reports all of it), so that only what differs is sent.
///
/// 128 bits, so that two pages that differ are not taken for equal by accident, ever; under a key
/// of this object's own, so that a guest cannot make two that are. 16 bytes a page, of which only
/// those of pages that were sent take memory. Threads may work at once on pages that are apart.
class SentHashes {
public:
    [[nodiscard]] static Result<SentHashes> create();

    /// Keeps hashes for a block of so many pages; for blocks that were not named, none are kept.
    [[nodiscard]] Status keep_for(size_t block, uint64_t pages);

    [[nodiscard]] bool keeps(size_t block) const
    {
        return block < blocks_.size() && blocks_[block] != nullptr;
    }

    /// Whether the page (ram_page_size long) is what was last noted of it. Only of blocks that are
    /// kept.
    [[nodiscard]] bool is_same(size_t block, uint64_t page, const std::byte* data) const;

    /// The same, and notes it: where it is not the same, the caller must send it, or fail.
    [[nodiscard]] bool note(size_t block, uint64_t page, const std::byte* data);

    /// What was noted of the page may not have arrived.
    void forget(size_t block, uint64_t page) { blocks_[block][page] = {}; }

private:
    struct Hash {
        uint64_t low, high;
        bool operator==(const Hash&) const = default;
    };
    [[nodiscard]] Hash hash(const std::byte* page) const;
    struct Unmap {
        size_t bytes = 0;
        void operator()(Hash* hashes) const;
    };
    SentHashes() = default;

    std::array<std::byte, 192> key_{};
    std::vector<std::unique_ptr<Hash[], Unmap>> blocks_; ///< 0, 0: nothing noted
};

} // namespace drover
