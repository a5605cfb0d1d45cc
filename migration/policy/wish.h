// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "util/result.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace drover {

/// What to do when rounds alone do not bring the downtime that is wished for. They are tried in the
/// order that the user gave; each is left when it cannot help (any more).
enum class StallAction {
    Wait,     ///< go on with rounds: the guest may write less later
    Slow,     ///< slow the guest down, by as little as helps and by max_slowdown at most
    Postcopy, ///< run it at the destination and fetch the rest from here
    Switch,   ///< pause it for longer than wished
    Abort,    ///< give up: it stays here
};

[[nodiscard]] std::string_view to_string(StallAction action);

/// What the user asked for, by -migrate-policy or QMP.
struct MigrationWish {
    double downtime_s = 0.3;          ///< 0.001 … 2000; the default is QEMU's downtime-limit
    std::optional<double> deadline_s; ///< from the start to the guest's running at the destination
    double max_slowdown = 0;          ///< 0 … 0.99 of the guest's speed
    /// Steps that the user has set (QEMU's cpu-throttle-initial and -increment), 0 … 0.99 of the
    /// guest's speed: the first slow-down, and the most that a round adds to it. None: the policy
    /// goes at once to the least that its model says will do.
    std::optional<double> first_slowdown;
    std::optional<double> slowdown_increment;
    uint64_t bandwidth = 0; ///< bytes/s on the wire; 0: as max-bandwidth says
    double cpu = 0;         ///< cores that the engine may use; 0: no bound
    /// How long a copy whose link broke may wait for another one; 0: it does not go on then.
    double reconnect_s = 300;
    bool verify = false;        ///< RAM is compared, by a digest, before the guest runs elsewhere
    std::string tcp_congestion; ///< the kernel's name for what TCP is to do; empty: its default
    std::vector<StallAction> on_stall = {StallAction::Slow, StallAction::Wait, StallAction::Switch};

    bool on_stall_given = false; ///< by the user; else it is the default above

    friend bool operator==(const MigrationWish&, const MigrationWish&) = default;
};

/// "preset=urgent,downtime=50ms,on-stall=slow:abort" over `defaults`. A preset replaces all that
/// came before it. Refuses nonsense with the range that is allowed.
[[nodiscard]] Result<MigrationWish> parse_policy(std::string_view text,
                                                 const MigrationWish& defaults = {});

/// One option, as parse_policy() takes it.
[[nodiscard]] Status apply_policy_option(MigrationWish& wish, std::string_view key,
                                         std::string_view value);

/// Whether the wishes contradict each other.
[[nodiscard]] Status check_wish(const MigrationWish& wish);

/// What `-migrate-policy help` prints.
[[nodiscard]] std::string_view policy_help();

} // namespace drover
