// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "util/result.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// The convergence policy: when to switch over. Pure functions of what was asked and measured, with
/// no clock and no I/O, so that they can be tested and simulated by the thousand.
namespace drover {

/// What the user asked for, by -migrate-policy or QMP.
struct MigrationWish {
    double downtime_s = 0.3;          ///< QEMU's default for downtime-limit
    std::optional<double> deadline_s; ///< from the start to the guest's running at the destination

    friend bool operator==(const MigrationWish&, const MigrationWish&) = default;
};

/// "downtime=50ms,deadline=60s" over `defaults`. Refuses nonsense with the range that is allowed.
[[nodiscard]] Result<MigrationWish> parse_policy(std::string_view text,
                                                 const MigrationWish& defaults = {});
/// What `-migrate-policy help` prints.
[[nodiscard]] std::string_view policy_help();

/// One round of copying, as measured.
struct RoundStats {
    unsigned round = 0;       ///< from 1
    uint64_t pages_sent = 0;  ///< as bytes
    uint64_t pages_zero = 0;  ///< found to be zero; most of them need not be sent
    uint64_t bytes = 0;       ///< on the wire
    double seconds = 0;       ///< from the round's start to the destination's acknowledgement
    uint64_t pages_dirty = 0; ///< written meanwhile, so left to send when the round ended
    bool guest_paused = false;
};

struct MigrationStats {
    std::vector<RoundStats> rounds; ///< at least one when the policy is asked
    double elapsed_s = 0;           ///< since the migration's start
    double handover_s = 0;          ///< expected: device state and round trips, besides RAM
};

struct Decision {
    enum class Action { NextRound, SwitchOver };
    Action action = Action::NextRound;
    double predicted_downtime_s = 0; ///< if it switched over now
    std::string reason;              ///< in words, with the numbers that decided
};

/// A policy. Implementations hold nothing: the same statistics give the same decision.
class Policy {
public:
    virtual ~Policy() = default;
    [[nodiscard]] virtual Decision decide(const MigrationWish& wish,
                                          const MigrationStats& stats) const = 0;
};

/// The first version: switch over when the predicted downtime fits the wish (and cannot be made
/// much shorter for little), when rounds no longer gain, or when the deadline leaves no time for
/// another.
class FitOrStallPolicy : public Policy {
public:
    [[nodiscard]] Decision decide(const MigrationWish& wish,
                                  const MigrationStats& stats) const override;
};

/// The link's goodput in bytes/s as the rounds so far show it; 0 where nothing was sent yet.
[[nodiscard]] double estimated_goodput(const MigrationStats& stats);

} // namespace drover
