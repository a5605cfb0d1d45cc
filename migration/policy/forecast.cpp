// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/policy/forecast.h"

#include "migration/policy/model.h"
#include "migration/policy/play.h"
#include "migration/policy/policy.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>

namespace drover {

namespace {

/// Even a guest and a link that were seen steady are not known better than this.
constexpr double least_spread = 1.1;
constexpr double link_spread = 1.1;
/// Hypervisors need this factor more or less than what is usual.
constexpr double handover_spread = 3;

/// One prediction and the two at the ends of what is likely.
struct Three {
    Prediction expected;
    Prediction low;
    Prediction high;
    double slowdown = 0; ///< expected
};

Three play_three(const MigrationWish& wish, const MigrationStats& stats)
{
    const ConvergePolicy policy;
    const DirtyModel dirty = DirtyModel::of(stats);
    const LinkModel link = LinkModel::of(stats);
    LinkModel fast = link, slow = link;
    fast.bytes_s *= link_spread;
    slow.bytes_s /= link_spread;
    const double spread = std::max(dirty.spread(), least_spread);
    const Played expected = play(policy, wish, stats, dirty, link);
    return {expected.outcome, play(policy, wish, stats, dirty.scaled(1 / spread), fast).outcome,
            play(policy, wish, stats, dirty.scaled(spread), slow).outcome, expected.slowdown};
}

/// By rounds alone, with the guest slowed from the start.
Three predict_three(const MigrationStats& stats, double downtime_s, double slowdown)
{
    const DirtyModel dirty = DirtyModel::of(stats);
    const LinkModel link = LinkModel::of(stats);
    LinkModel fast = link, slow = link;
    fast.bytes_s *= link_spread;
    slow.bytes_s /= link_spread;
    const double spread = std::max(dirty.spread(), least_spread);
    const Situation now{.pages_left =
                            static_cast<double>(stats.pages_total) * (1 - stats.contents.zero),
                        .handover_s = stats.handover_s,
                        .downtime_s = downtime_s,
                        .first_round = true};
    return {predict(dirty, link, now, slowdown),
            predict(dirty.scaled(1 / spread), fast, now, slowdown),
            predict(dirty.scaled(spread), slow, now, slowdown), slowdown};
}

Estimate estimate(const Three& three, double Prediction::*member)
{
    const double a = three.low.*member, b = three.high.*member, c = three.expected.*member;
    return {c, std::min({a, b, c}), std::max({a, b, c})};
}

Way describe(const char* name, const MigrationWish& wish, const Three& three)
{
    const double slowdown = three.slowdown;
    Way way;
    way.name = name;
    way.possible = three.expected.fits;
    way.total_s = estimate(three, &Prediction::seconds);
    way.bytes = estimate(three, &Prediction::bytes);
    way.downtime_s = estimate(three, &Prediction::downtime_s);
    way.slowdown = slowdown;
    const bool in_time = !wish.deadline_s || way.total_s.expected <= *wish.deadline_s;
    way.keeps_wish = way.possible && in_time && slowdown <= wish.max_slowdown;
    if (!way.possible)
        way.why = "the guest writes as fast as the link carries: rounds would not bring the "
                  "downtime to the wish; the figures are those of where they stop to gain";
    else if (!in_time)
        way.why = "it would end after the deadline";
    else if (slowdown > wish.max_slowdown)
        way.why = "the policy does not permit to slow the guest so much (max-slowdown)";
    else
        way.why = "it keeps all wishes";
    return way;
}

Way precopy(const MigrationWish& wish, const MigrationStats& stats)
{
    MigrationWish patient = wish;
    patient.on_stall = {StallAction::Wait};
    patient.deadline_s.reset();
    return describe("precopy", wish, play_three(patient, stats));
}

Way slowed(const MigrationWish& wish, const MigrationStats& stats)
{
    // If what is permitted does not do, the user learns what would.
    constexpr double most = 0.95;
    Three three = predict_three(stats, wish.downtime_s, slowdown_step);
    const auto fits = [&] {
        return three.expected.fits &&
               (!wish.deadline_s || three.expected.seconds <= *wish.deadline_s);
    };
    while (!fits() && three.slowdown < most)
        three = predict_three(stats, wish.downtime_s, three.slowdown + slowdown_step);
    Way way = describe("slowed", wish, three);
    if (!stats.can_slow) {
        way.possible = way.keeps_wish = false;
        way.why = "this host permits no way to slow the guest";
    }
    return way;
}

/// One round while the guest runs here, then the hand-over, then what the round left: the downtime
/// does not depend on how the guest writes.
Way postcopy(const MigrationWish& wish, const MigrationStats& stats, std::string_view why_not)
{
    if (!stats.can_postcopy)
        return {.name = "postcopy",
                .why = why_not.empty() ? "this host permits none" : std::string(why_not)};
    const Three three = predict_three(stats, std::numeric_limits<double>::infinity(), 0);
    Way way;
    way.name = "postcopy";
    way.possible = true;
    way.total_s = estimate(three, &Prediction::seconds);
    way.bytes = estimate(three, &Prediction::bytes);
    way.downtime_s = {stats.handover_s, stats.handover_s / handover_spread,
                      stats.handover_s * handover_spread};
    const Prediction& expected = three.expected;
    const double runs_there_s = expected.seconds - expected.downtime_s + stats.handover_s;
    way.keeps_wish = way.downtime_s.high <= wish.downtime_s &&
                     (!wish.deadline_s || runs_there_s <= *wish.deadline_s);
    char text[200];
    snprintf(text, sizeof text,
             "the guest runs there after %.1f s, and waits for what it touches before it has come, "
             "for %.1f s more; the destination is asked at the start whether it permits that",
             runs_there_s, expected.seconds - runs_there_s);
    way.why = text;
    return way;
}

} // namespace

std::vector<Way> forecast(const MigrationWish& wish, const MigrationStats& stats,
                          std::string_view why_no_postcopy)
{
    return {precopy(wish, stats), slowed(wish, stats), postcopy(wish, stats, why_no_postcopy)};
}

} // namespace drover
