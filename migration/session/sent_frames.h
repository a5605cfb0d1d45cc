// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/stream/messages.h"
#include "util/result.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

namespace drover {

/// What one data channel has sent in the round under way, frame by frame: what of it a link that
/// broke has lost is sent again, and nothing else. 16 bytes for each run of pages. One thread at a
/// time.
class SentFrames {
public:
    /// All that was sent before has been acknowledged.
    void begin_round();

    /// The next frame: before it is written, since a write that fails may have sent it.
    void add(const stream::PagesTable& table);
    void add_round_end() { ends_.push_back(runs_.size()); }

    /// Frames since the session began.
    [[nodiscard]] uint64_t count() const { return acknowledged_ + ends_.size(); }

    using Lost = std::function<void(size_t block, uint64_t first, uint64_t count)>;
    /// The destination has carried out the first `applied` frames: the next one takes the number
    /// after that. Calls `lost` for the pages of the others. Protocol, if it cannot be: more than
    /// were sent, or fewer than were acknowledged.
    [[nodiscard]] Status keep_first(uint64_t applied, const Lost& lost);

private:
    struct Run {
        uint64_t first;
        uint32_t block;
        uint32_t count;
    };
    uint64_t acknowledged_ = 0; ///< frames of the rounds before
    std::vector<Run> runs_;
    std::vector<size_t> ends_; ///< by frame: so many runs up to its end
};

} // namespace drover
