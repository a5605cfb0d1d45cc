// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "monitor/json.h"

#include <string>

namespace drover::tools {

/// What of query-migrate's answer is shown. Bytes, unless the name says otherwise.
struct MigrationStats {
    std::string status;
    std::string error;
    uint64_t total = 0;
    uint64_t transferred = 0;
    uint64_t remaining = 0;
    uint64_t round = 0;
    uint64_t dirty_pages_per_s = 0;
    double mbit_per_s = 0;
    uint64_t total_ms = 0;
    uint64_t downtime_ms = 0;
    std::string link_error; ///< why the link is away now, where it is
    double link_away_s = 0;

    [[nodiscard]] static MigrationStats parse(const Json& info);
    [[nodiscard]] bool over() const; ///< completed, failed or cancelled
};

/// One line a round: its share that is done, as a bar of `width` characters (0: no bar).
/// `at_start` is what remained when the round began.
[[nodiscard]] std::string progress_line(const MigrationStats& stats, uint64_t at_start,
                                        unsigned width);

/// "completed in 2.31 s: 324.0 MB in 4 rounds, 1123 Mbit/s, downtime 3 ms", or why not.
[[nodiscard]] std::string summary(const MigrationStats& stats);

} // namespace drover::tools
