// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/state/guest_pages.h"

#include <map>
#include <optional>

namespace drover::xen {

/// Where in a file the guest's frames lie. What is put later counts.
class PageIndex {
public:
    /// `count` frames, whose contents follow each other from `at` on.
    void put(uint64_t first, uint64_t count, uint64_t at);
    /// Frames of zeroes, where there are none yet.
    void put_empty(uint64_t first, uint64_t count);
    void remove(uint64_t first, uint64_t count);

    /// Where the frame's contents are. Nothing: they are zeroes, or has() says that it is not
    /// there.
    [[nodiscard]] std::optional<uint64_t> find(uint64_t frame) const;
    [[nodiscard]] bool has(uint64_t frame) const;
    [[nodiscard]] std::vector<state::FrameRange> ranges() const;
    [[nodiscard]] uint64_t count() const; ///< frames

private:
    struct Run {
        uint64_t count = 0;
        std::optional<uint64_t> at; ///< none: zeroes
    };
    using Runs = std::map<uint64_t, Run>; ///< by their first frames; without overlaps

    void cut(uint64_t frame);
    void put_run(uint64_t first, const Run& run);
    [[nodiscard]] Runs::const_iterator run_of(uint64_t frame) const;

    Runs runs_;
};

} // namespace drover::xen
