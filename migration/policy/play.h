// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/policy/model.h"
#include "migration/policy/policy.h"

namespace drover {

/// How a migration went that was only played.
struct Played {
    Prediction outcome;
    double slowdown = 0; ///< the worst, 0 … 1 of the guest's speed
};

/// Plays a migration from its start: the policy itself is asked, round by round, and the guest and
/// the link do what the models say. `stats` as for forecast(). A pure function.
[[nodiscard]] Played play(const Policy& policy, const MigrationWish& wish, MigrationStats stats,
                          const DirtyModel& dirty, const LinkModel& link);

} // namespace drover
