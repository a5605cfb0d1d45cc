// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/policy/statistics.h"
#include "migration/policy/wish.h"

#include <string>

/// The convergence policy: when to switch over, and what to do until then. Pure functions of what
/// was asked and measured, with no clock and no I/O, so that they can be tested and simulated by
/// the thousand.
namespace drover {

struct Decision {
    enum class Action { NextRound, SwitchOver, Postcopy, Abort };
    Action action = Action::NextRound;
    double slowdown = 0; ///< to be in force from now on, 0 … 1 of the guest's speed
    /// What a guest slowed like this is expected to write to in the round to come: clean pages/s. 0
    /// without a slow-down.
    double write_rate = 0;
    /// In the round to come, pages that are found written again when their turn comes may wait for
    /// the next one: they will be written a third time. Not if this may be the last live round.
    bool leave_hot = false;
    double predicted_downtime_s = 0; ///< if it switched over now
    double predicted_total_s = 0;    ///< of the migration, as things stand; 0: no end is in sight
    std::string reason;              ///< in words, with the numbers that decided
};

/// A policy. Implementations hold nothing: the same statistics give the same decision.
class Policy {
public:
    virtual ~Policy() = default;
    /// Asked before the first round (for its slow-down) and after each round while the guest runs.
    [[nodiscard]] virtual Decision decide(const MigrationWish& wish,
                                          const MigrationStats& stats) const = 0;
};

/// Ours: converge.cpp says it in words.
class ConvergePolicy : public Policy {
public:
    [[nodiscard]] Decision decide(const MigrationWish& wish,
                                  const MigrationStats& stats) const override;
};

} // namespace drover
