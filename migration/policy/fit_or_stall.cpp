// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/policy/policy.h"

#include "migration/ram/ram_block.h"

#include <algorithm>

namespace drover {

namespace {

/// A round gains if it leaves at least a tenth less than the round before it left.
constexpr double gain_factor = 0.9;
/// So many rounds in a row without a gain are a stall. One is not enough: bursts.
constexpr unsigned stalled_rounds = 3;
/// Rounds shorter than this say little about the link: their time is mostly latency.
constexpr double telling_round_s = 0.02;
/// A downtime that fits the wish is made shorter still where that is nearly free: where one more
/// round, taking at most this part of the time so far, saves at least this much.
constexpr double cheap_round = 0.05;
constexpr double worthwhile_s = 0.003;

std::string milliseconds(double seconds)
{
    char text[32];
    snprintf(text, sizeof text, seconds < 0.0995 ? "%.1f ms" : "%.0f ms", seconds * 1e3);
    return text;
}

std::string situation(const MigrationStats& stats, double goodput, double downtime)
{
    const RoundStats& last = stats.rounds.back();
    char text[128];
    snprintf(text, sizeof text, "round %u: %llu pages left = %s at %.0f MB/s", last.round,
             static_cast<unsigned long long>(last.pages_dirty), milliseconds(downtime).c_str(),
             goodput / 1e6);
    return text;
}

unsigned rounds_without_gain(const std::vector<RoundStats>& rounds)
{
    unsigned stalled = 0;
    for (size_t i = rounds.size(); i-- > 1;) {
        if (static_cast<double>(rounds[i].pages_dirty) <
            gain_factor * static_cast<double>(rounds[i - 1].pages_dirty))
            break;
        ++stalled;
    }
    return stalled;
}

/// While `copy_s` seconds are copied, the guest writes on as it did in the last round.
bool is_cheap_gain(const MigrationStats& stats, double goodput, double copy_s)
{
    const RoundStats& last = stats.rounds.back();
    if (last.seconds <= 0 || goodput <= 0 || copy_s > cheap_round * stats.elapsed_s)
        return false;
    const double dirtied = static_cast<double>(last.pages_dirty * ram_page_size) / last.seconds;
    const double next_copy_s = dirtied * copy_s / goodput;
    return copy_s - next_copy_s >= worthwhile_s && next_copy_s <= copy_s / 2;
}

} // namespace

double estimated_goodput(const MigrationStats& stats)
{
    // Newest first: the latest round that was long enough to tell; else all rounds together.
    double bytes = 0;
    double seconds = 0;
    for (auto round = stats.rounds.rbegin(); round != stats.rounds.rend(); ++round) {
        if (round->seconds >= telling_round_s && round->bytes > 0)
            return static_cast<double>(round->bytes) / round->seconds;
        bytes += static_cast<double>(round->bytes);
        seconds += round->seconds;
    }
    return seconds > 0 ? bytes / seconds : 0;
}

Decision FitOrStallPolicy::decide(const MigrationWish& wish, const MigrationStats& stats) const
{
    const RoundStats& last = stats.rounds.back();
    const double goodput = estimated_goodput(stats);
    const double left = static_cast<double>(last.pages_dirty * ram_page_size);
    const double copy_s = goodput > 0 ? left / goodput : 0;

    Decision decision;
    decision.predicted_downtime_s = copy_s + stats.handover_s;
    decision.reason = situation(stats, goodput, decision.predicted_downtime_s) + ", wish " +
                      milliseconds(wish.downtime_s);
    const bool nothing_known = goodput <= 0 && last.pages_dirty > 0;
    const bool fits = decision.predicted_downtime_s <= wish.downtime_s && !nothing_known;
    if (fits && is_cheap_gain(stats, goodput, copy_s)) {
        decision.reason += ", but another round costs little: another round";
    } else if (fits) {
        decision.action = Decision::Action::SwitchOver;
        decision.reason += ": switch over";
    } else if (const unsigned stalled = rounds_without_gain(stats.rounds);
               stalled >= stalled_rounds) {
        decision.action = Decision::Action::SwitchOver;
        decision.reason +=
            ", but " + std::to_string(stalled) + " rounds in a row gained nothing: switch over";
    } else if (wish.deadline_s &&
               stats.elapsed_s + copy_s + decision.predicted_downtime_s > *wish.deadline_s) {
        decision.action = Decision::Action::SwitchOver;
        decision.reason += ", but the deadline leaves no time for another round: switch over";
    } else {
        decision.reason += ": another round";
    }
    return decision;
}

} // namespace drover
