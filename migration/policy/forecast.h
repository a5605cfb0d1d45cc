// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/policy/statistics.h"
#include "migration/policy/wish.h"

#include <string>
#include <string_view>
#include <vector>

namespace drover {

/// A number that is expected, and the range in which it is most likely.
struct Estimate {
    double expected = 0;
    double low = 0;
    double high = 0;
};

/// One way to proceed, and what it would cost.
struct Way {
    std::string name;        ///< "precopy", "slowed", "postcopy"
    bool possible = false;   ///< rounds bring the downtime to the wish; post-copy can be had
    bool keeps_wish = false; ///< downtime, deadline and slow-down
    std::string why;         ///< in words
    Estimate total_s;
    Estimate bytes;
    Estimate downtime_s;
    double slowdown = 0; ///< 0 … 1 of the guest's speed
};

/// What a migration would cost, before it starts. `stats` hold windows, pages_total, link_bytes_s
/// and handover_s, and no rounds. `why_no_postcopy` is for people. A pure function.
[[nodiscard]] std::vector<Way> forecast(const MigrationWish& wish, const MigrationStats& stats,
                                        std::string_view why_no_postcopy = {});

} // namespace drover
