// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/stream/messages.h"

#include <array>
#include <cstdint>
#include <span>
#include <vector>

/// The payloads of post-copy's frames (docs/stream-format.md, "Post-copy").
namespace drover::stream {

/// Which pages of 512 (2 MiB) are missing.
struct MissingStripe {
    uint64_t first_page = 0;         ///< a multiple of 512
    std::array<uint64_t, 8> words{}; ///< bit i of word w: page first_page + 64 w + i. Not all zero

    friend bool operator==(const MissingStripe&, const MissingStripe&) = default;
};
inline constexpr size_t missing_stripe_size = 72;
inline constexpr size_t max_missing_stripes = 4096; ///< in one frame

/// Missing: u32 block, u32 zero, then the stripes (u64 first page, 8 x u64), ascending, at least
/// one.
struct MissingPages {
    uint32_t block = 0;
    std::vector<MissingStripe> stripes;

    friend bool operator==(const MissingPages&, const MissingPages&) = default;
};

/// PageRequest: u32 block, u32 count, u64 first page.
struct PageRequest {
    uint32_t block = 0;
    uint32_t count = 0; ///< pages, 1 … 512
    uint64_t first_page = 0;

    friend bool operator==(const PageRequest&, const PageRequest&) = default;
};
inline constexpr uint32_t max_requested_pages = 512;

[[nodiscard]] Bytes encode(const MissingPages& value);
[[nodiscard]] Bytes encode(const PageRequest& value);
/// As with Pages, whether block and page exist is for the caller to check.
[[nodiscard]] Result<MissingPages> decode_missing(std::span<const std::byte> payload);
[[nodiscard]] Result<PageRequest> decode_page_request(std::span<const std::byte> payload);

} // namespace drover::stream
