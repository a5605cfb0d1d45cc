// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "util/result.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

namespace drover {

/// What was last sent of each page, as a hash of each of its 64-byte lines: so a page that is sent
/// again can go as those lines that have changed. 512 bytes a page, an eighth of what a copy would
/// take; memory that is not used yet is none.
///
/// 64 bits a line, each compared with the one before it alone, so that two that differ are not
/// taken for equal by accident; under a key of this object's own, so that a guest cannot make two
/// that are. The receiver checks the whole page besides (stream/page_delta.h).
///
/// Holds the pages of one of `channels` data channels (session/ram_stripe.h). One thread at a time.
class SentLines {
public:
    /// `pages` of each block, in their order; keeps at most `bytes`.
    [[nodiscard]] static Result<SentLines> create(std::span<const uint64_t> pages, size_t channels,
                                                  size_t bytes);

    /// Notes the page (4,096 bytes at `data`), and says which lines differ (bit n: line n) from the
    /// version that was noted before; nothing, if that is not known. What is said must be sent, or
    /// the sender must fail. `round` counts on: a page that was not sent in the round before this
    /// one gives its place to another.
    [[nodiscard]] std::optional<uint64_t> note(size_t block, uint64_t page, const std::byte* data,
                                               uint32_t round);

    /// The same, and notes nothing.
    [[nodiscard]] std::optional<uint64_t> compare(size_t block, uint64_t page,
                                                  const std::byte* data) const;

    /// The page was sent, or made zero, without being noted.
    void forget(size_t block, uint64_t page);

    /// Any page may have been; and gives the memory back.
    void forget_all();

    [[nodiscard]] size_t bytes() const { return count_ * sizeof(Slot); }

private:
    using Hashes = std::array<uint64_t, 64>;
    struct Slot {
        uint64_t page; ///< which one, plus one; 0: none
        uint64_t round;
        Hashes lines;
    };
    struct Unmap {
        size_t bytes;
        void operator()(Slot* slots) const;
    };
    SentLines() = default;

    [[nodiscard]] uint64_t number(size_t block, uint64_t page) const;
    [[nodiscard]] Slot& slot(uint64_t number) const { return slots_[number % count_]; }
    [[nodiscard]] uint64_t hash(const std::byte* line) const;

    std::array<std::byte, 192> key_{};
    std::vector<uint64_t> first_; ///< by block: its first page's number
    size_t channels_ = 1;
    uint64_t count_ = 0;
    std::unique_ptr<Slot[], Unmap> slots_{nullptr, Unmap{0}};
};

} // namespace drover
