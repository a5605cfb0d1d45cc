// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/stream/messages.h"

#include <cstdint>
#include <span>
#include <vector>

/// The payload by which a copy goes on whose link broke (docs/stream-format.md, "Going on after a
/// break").
namespace drover::stream {

/// ResumePoint: 16 bytes of token, u32 round, u32 number of channels (1 … 64), a u64 for each.
struct ResumePoint {
    /// What the data connections to come are to name in their Join, instead of the session's: so
    /// one that was under way when the link broke is turned away, however late it arrives.
    SessionToken join{};
    uint32_t round = 0; ///< the last one that was acknowledged; 0: none
    /// By channel: frames behind Join, since the session began, that were carried out.
    std::vector<uint64_t> frames;

    friend bool operator==(const ResumePoint&, const ResumePoint&) = default;
};

[[nodiscard]] Bytes encode(const ResumePoint& value);
/// Whether round, channels and frames can be is for the caller to check.
[[nodiscard]] Result<ResumePoint> decode_resume_point(std::span<const std::byte> payload);

} // namespace drover::stream
