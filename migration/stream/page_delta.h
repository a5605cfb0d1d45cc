// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

/// A page as the difference to the version that was sent before: u64 mask of the 64-byte lines that
/// have changed (bit n: line n), not 0; u32 check, the low half of XXH3-64 of the whole page as it
/// is now; then the changed lines, in order. Pages of 4,096 bytes only.
namespace drover::stream {

inline constexpr size_t delta_page_size = 4096; ///< bytes
inline constexpr size_t delta_line_size = 64;   ///< bytes; 64 of them are a page
inline constexpr size_t delta_head_size = 12;   ///< bytes: mask and check

/// The record's size in bytes for this mask.
[[nodiscard]] size_t delta_size(uint64_t mask);

/// Appends the record of `page` (delta_page_size long), of which the lines in `mask` are to go.
void append_delta(const std::byte* page, uint64_t mask, std::vector<std::byte>& out);

/// The size of the record at the front of `data`; 0 if it is cut off, or says that nothing changed.
[[nodiscard]] size_t delta_record_size(std::span<const std::byte> data);

/// Makes the new version of `page` (delta_page_size long) out of the old one. `record` is a whole
/// one. False if the result is not what the sender had: then the old version was not the same.
[[nodiscard]] bool apply_delta(std::span<const std::byte> record, std::byte* page);

} // namespace drover::stream
