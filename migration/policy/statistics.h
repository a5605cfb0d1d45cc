// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <vector>

/// What the policy is told. Times are seconds, sizes bytes, pages 4 KiB.
namespace drover {

/// One round of copying, as measured.
struct RoundStats {
    unsigned round = 0;       ///< from 1
    uint64_t pages_sent = 0;  ///< as bytes
    uint64_t pages_zero = 0;  ///< found to be zero; most of them need not be sent
    uint64_t bytes = 0;       ///< on the wire
    double seconds = 0;       ///< from the round's start to the destination's acknowledgement
    double broken_s = 0;      ///< of those: without a link
    uint64_t pages_dirty = 0; ///< written meanwhile, so left to send when the round ended
    double page_bytes = 0;    ///< that one of those takes on the wire, encoded; 0: 4,096
    /// It waited for its pages' encoding rather than for the link, of which it tells nothing.
    bool held_by_encoding = false;
    bool guest_paused = false;
    double slowdown = 0; ///< how much the guest was slowed meanwhile, 0 … 1 of its speed

    [[nodiscard]] double link_s() const { return seconds - broken_s; } ///< with a link
};

/// So many distinct pages were written within so many seconds, by a guest at full speed.
struct DirtyWindow {
    double seconds = 0;
    uint64_t pages = 0;
};

/// What the guest's pages hold, from a sample. Parts are 0 … 1.
struct PageContents {
    uint64_t sampled = 0;   ///< pages that hold data
    double zero = 0;        ///< of them hold zeros only, and need not be sent
    double compressed = 1;  ///< what zlib's fastest level makes of the others
    uint64_t rewritten = 0; ///< of the sample were written while it was watched
    double changed = 1;     ///< of such a page's bytes
    double delta = 1;       ///< of its size: what it takes as a delta, at most all of it
};

struct MigrationStats {
    std::vector<RoundStats> rounds;   ///< those that are over
    std::vector<DirtyWindow> windows; ///< measured before the start, if at all
    PageContents contents;            ///< likewise
    uint64_t pages_total = 0;         ///< that hold data: what the first round sends; 0: unknown
    double elapsed_s = 0;             ///< since the migration's start
    double handover_s = 0;            ///< expected: device state and round trips, besides RAM
    double link_bytes_s = 0;          ///< expected before anything was sent; 0: unknown
    double slowdown = 0;              ///< in force now
    bool can_slow = false;            ///< the host permits a way to slow the guest
    bool can_postcopy = false;        ///< both hosts permit post-copy

    /// To send before the guest can run elsewhere.
    [[nodiscard]] uint64_t pages_left() const
    {
        return rounds.empty() ? pages_total : rounds.back().pages_dirty;
    }
};

} // namespace drover
