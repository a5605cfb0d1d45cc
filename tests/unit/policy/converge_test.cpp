// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/policy/policy.h"

#include <gtest/gtest.h>

namespace drover {
namespace {

using Action = Decision::Action;
using enum StallAction;

constexpr double link = 100e6; // bytes/s in all tables: 24,414 pages a second

/// Rounds that took as long as the link needs for them; each left `dirty` pages.
MigrationStats stats_of(const std::vector<uint64_t>& dirty, double rate = link)
{
    MigrationStats stats;
    stats.pages_total = 100'000;
    stats.can_slow = true;
    uint64_t pages = stats.pages_total;
    for (const uint64_t left : dirty) {
        RoundStats round;
        round.round = static_cast<unsigned>(stats.rounds.size()) + 1;
        round.pages_sent = pages;
        round.bytes = pages * 4096;
        round.seconds = static_cast<double>(round.bytes) / rate;
        round.pages_dirty = left;
        stats.rounds.push_back(round);
        stats.elapsed_s += round.seconds;
        pages = left;
    }
    stats.handover_s = 0.010;
    return stats;
}

MigrationWish wish_of(double downtime_s, std::optional<double> deadline_s = {},
                      std::vector<StallAction> on_stall = {Wait, Switch})
{
    MigrationWish wish;
    wish.downtime_s = downtime_s;
    wish.deadline_s = deadline_s;
    wish.on_stall = std::move(on_stall);
    return wish;
}

Decision decide(const MigrationWish& wish, const MigrationStats& stats)
{
    return ConvergePolicy().decide(wish, stats);
}

/// A guest of which each round leaves as much: it writes as fast as the link carries.
MigrationStats stalled(unsigned rounds, uint64_t left = 50'000)
{
    return stats_of(std::vector<uint64_t>(rounds, left));
}

struct Row {
    const char* name;
    std::vector<uint64_t> dirty;
    MigrationWish wish;
    Action action;
    const char* words;
};

class Converge : public ::testing::TestWithParam<Row> {};

// 270 ms, which leave a tenth in reserve, hold 6,347 pages besides the hand-over.
INSTANTIATE_TEST_SUITE_P(
    Table, Converge,
    ::testing::Values(
        Row{"NothingLeft", {0}, wish_of(0.3), Action::SwitchOver, "round 1: 0 pages left"},
        Row{"JustFits",
            {6300},
            wish_of(0.3),
            Action::SwitchOver,
            "268 ms at 100 MB/s, wish 300 ms"},
        Row{"JustDoesNotFit", {6400}, wish_of(0.3), Action::NextRound, "another round"},
        Row{"FitsNotAShorterWish", {6300}, wish_of(0.05), Action::NextRound, "wish 50.0 ms"},
        Row{"ConvergesInTheEnd", {50000, 20000, 50}, wish_of(0.3), Action::SwitchOver, "round 3"},
        Row{"FitsButAnotherRoundCostsLittle",
            {50000, 20000, 5000},
            wish_of(0.3),
            Action::NextRound,
            "another round costs little"},
        Row{"FitsAndAnotherRoundWouldTakeLong",
            {6200},
            wish_of(0.3),
            Action::SwitchOver,
            "round 1"},
        Row{"WillConverge", {50000, 20000}, wish_of(0.3), Action::NextRound, "to go"},
        Row{"WillNotInTimeAndWaits",
            {50000, 50000, 50000},
            wish_of(0.3, 60),
            Action::NextRound,
            "waiting for the guest to write less"},
        Row{"TheDeadlineIsHere",
            {50000, 50000, 50000}, // 8.2 s are over
            wish_of(0.3, 9),
            Action::SwitchOver,
            "the deadline is here"},
        Row{"MayGiveUp",
            {50000, 50000, 50000},
            wish_of(0.3, 60, {Abort}),
            Action::Abort,
            "give up"},
        Row{"PostCopyOnlyWhereItIsPossible",
            {50000, 50000, 50000},
            wish_of(0.3, 60, {Postcopy, Abort}),
            Action::Abort,
            "give up"},
        Row{"NothingIsPermitted",
            {50000, 50000, 50000},
            wish_of(0.3, 60, {}),
            Action::NextRound,
            "nothing that is permitted"}),
    [](const auto& test) { return std::string(test.param.name); });

TEST_P(Converge, Decides)
{
    const Decision decision = decide(GetParam().wish, stats_of(GetParam().dirty));
    EXPECT_EQ(decision.action, GetParam().action) << decision.reason;
    EXPECT_NE(decision.reason.find(GetParam().words), std::string::npos) << decision.reason;
    EXPECT_EQ(decision.slowdown, 0);
    const double expected = static_cast<double>(GetParam().dirty.back()) * 4096 / link + 0.010;
    EXPECT_NEAR(decision.predicted_downtime_s, expected, expected * 0.01);
}

TEST(Converge, PostcopyWhereBothHostsPermitIt)
{
    MigrationStats stats = stalled(3);
    stats.can_postcopy = true;
    EXPECT_EQ(decide(wish_of(0.3, 60, {Postcopy, Abort}), stats).action, Action::Postcopy);
}

TEST(Converge, WithoutADeadlinePatienceEndsWhereSomethingComesAfter)
{
    EXPECT_EQ(decide(wish_of(0.3), stalled(4)).action, Action::NextRound);
    EXPECT_EQ(decide(wish_of(0.3), stalled(10)).action, Action::SwitchOver);
    EXPECT_EQ(decide(wish_of(0.3, {}, {Wait}), stalled(60)).action, Action::NextRound);
}

TEST(Converge, SwitchesAtAGoodMomentOnly)
{
    const MigrationWish wish = wish_of(0.3, 60, {Switch});
    EXPECT_EQ(decide(wish, stats_of({50000, 48000, 52000, 70000})).action, Action::NextRound);
    EXPECT_EQ(decide(wish, stats_of({50000, 48000, 52000, 47000})).action, Action::SwitchOver);
}

TEST(Converge, SlowsAsLittleAsHelps)
{
    MigrationWish wish = wish_of(0.3, 120, {Slow, Abort});
    const MigrationStats stats = stats_of({50000, 49000, 50000});
    wish.max_slowdown = 0.9;
    const Decision decision = decide(wish, stats);
    EXPECT_EQ(decision.action, Action::NextRound) << decision.reason;
    EXPECT_GT(decision.slowdown, 0.04);
    EXPECT_LT(decision.slowdown, 0.5);
    EXPECT_NE(decision.reason.find("slowed by"), std::string::npos) << decision.reason;
    wish.deadline_s = stats.elapsed_s + 5; // in haste
    EXPECT_GT(decide(wish, stats).slowdown, decision.slowdown);
}

TEST(Converge, SaysWhatASlowedGuestWrites)
{
    MigrationWish wish = wish_of(0.01, {}, {Slow});
    MigrationStats stats = stats_of({50000, 49000, 50000});
    EXPECT_EQ(decide(wish, stats).write_rate, 0) << "not slowed";
    double last = 1e9;
    for (const double most : {0.2, 0.5, 0.9}) {
        wish.max_slowdown = most;
        const Decision decision = decide(wish, stats);
        EXPECT_GT(decision.slowdown, 0);
        EXPECT_GT(decision.write_rate, 0);
        EXPECT_LT(decision.write_rate, last);
        last = decision.write_rate;
    }
    const RoundStats& round = stats.rounds.back();
    EXPECT_LT(last, static_cast<double>(round.pages_dirty) / round.seconds / 2);
}

TEST(Converge, NeverSlowsMoreThanPermittedNorWhereItCannot)
{
    MigrationWish wish = wish_of(0.01, 30, {Slow});
    for (const double most : {0.0, 0.03, 0.4}) {
        wish.max_slowdown = most;
        for (unsigned rounds = 1; rounds < 12; ++rounds)
            EXPECT_LE(decide(wish, stalled(rounds)).slowdown, most);
    }
    MigrationStats stats = stalled(3);
    stats.can_slow = false;
    EXPECT_EQ(decide(wish, stats).slowdown, 0);
}

TEST(Converge, ObeysALoweredLimitAtOnce)
{
    MigrationStats stats = stalled(5);
    stats.slowdown = 0.8;
    MigrationWish wish = wish_of(0.01, {}, {Wait}); // as preset=gentle
    EXPECT_EQ(decide(wish, stats).slowdown, 0);
    wish.on_stall = {Slow, Wait};
    wish.max_slowdown = 0.3;
    EXPECT_LE(decide(wish, stats).slowdown, 0.3);
}

TEST(Converge, TheUsersStepsAreKept)
{
    MigrationStats stats = stalled(5);
    MigrationWish wish = wish_of(0.01, {}, {Slow, Wait});
    wish.max_slowdown = 0.9;
    wish.first_slowdown = 0.05;
    EXPECT_EQ(decide(wish, stats).slowdown, 0.05) << "not a better one that the model knows";
    stats.slowdown = 0.05;
    wish.slowdown_increment = 0.1;
    EXPECT_DOUBLE_EQ(decide(wish, stats).slowdown, 0.15);
    stats.slowdown = 0.85;
    EXPECT_LE(decide(wish, stats).slowdown, 0.9);
}

TEST(Converge, WhatWasWonBySlowingAfterWaitingIsNotGivenAway)
{
    MigrationWish wish = wish_of(0.05, {}, {Wait, Slow, Switch});
    wish.max_slowdown = 0.9;
    MigrationStats stats = stalled(10);
    const double first = decide(wish, stats).slowdown;
    ASSERT_GT(first, 0) << "the patience is over";
    RoundStats slowed = stats.rounds.back();
    slowed.round = 11;
    slowed.pages_dirty /= 2;
    slowed.slowdown = first;
    stats.rounds.push_back(slowed);
    stats.slowdown = first;
    EXPECT_GE(decide(wish, stats).slowdown, first) << "a gain is no reason to wait again";
}

TEST(Converge, AGuestThatGrewAndFitsIsSwitchedOver)
{
    // Each round leaves more than the first one sent, and fits into a wish of ten seconds.
    MigrationStats stats = stalled(40, 120'000);
    stats.rounds.front().pages_sent = 30'000;
    stats.pages_total = 30'000;
    EXPECT_EQ(decide(wish_of(10), stats).action, Action::SwitchOver);
}

TEST(Converge, AWishBelowTheHandOverGetsTheShortestPauseThereIs)
{
    MigrationStats stats = stats_of({100, 20});
    EXPECT_EQ(decide(wish_of(0.005), stats).action, Action::SwitchOver);
    stats.rounds.back().pages_dirty = 100'000;
    EXPECT_EQ(decide(wish_of(0.005), stats).action, Action::NextRound);
}

TEST(Converge, ADropOfTheLinkIsNoReasonToSwitchOver)
{
    MigrationStats stats = stats_of({60000, 50000, 45000, 40000});
    stats.rounds.back().seconds *= 5;
    const Decision decision = decide(wish_of(0.3, {}, {Switch}), stats);
    EXPECT_EQ(decision.action, Action::NextRound);
    EXPECT_NE(decision.reason.find("the link fell"), std::string::npos) << decision.reason;
}

TEST(Converge, WhatFitsOnlyAtTheLinksBestDoesNotFit)
{
    // Rounds so short that another one costs too much.
    MigrationStats stats = stats_of({15000, 6200});
    stats.elapsed_s = 1;
    EXPECT_EQ(decide(wish_of(0.3), stats).action, Action::SwitchOver);
    stats.rounds.back().seconds *= 1.6;
    EXPECT_EQ(decide(wish_of(0.3), stats).action, Action::NextRound);
}

TEST(Converge, BeforeTheFirstRoundItForetells)
{
    MigrationStats stats;
    stats.pages_total = 100'000;
    stats.link_bytes_s = link;
    stats.handover_s = 0.01;
    stats.can_slow = true;
    for (const double seconds : {0.1, 0.2, 0.4, 0.8})
        stats.windows.push_back({seconds, static_cast<uint64_t>(2000 * seconds)});
    const Decision quiet = decide(wish_of(0.3, 60), stats);
    EXPECT_EQ(quiet.action, Action::NextRound);
    EXPECT_EQ(quiet.slowdown, 0);
    EXPECT_NEAR(quiet.predicted_total_s, 4.3, 0.3);
    for (DirtyWindow& window : stats.windows)
        window.pages *= 15; // more than the link carries
    MigrationWish wish = wish_of(0.3, 60, {Slow, Abort});
    wish.max_slowdown = 0.8;
    EXPECT_GT(decide(wish, stats).slowdown, 0.1) << "from the first round on";
}

TEST(Converge, WithoutAnythingSentItDoesNotGuess)
{
    MigrationStats stats;
    stats.rounds.push_back({.round = 1, .seconds = 0.001, .pages_dirty = 100});
    EXPECT_EQ(decide({}, stats).action, Action::NextRound);
    stats.rounds[0].pages_dirty = 0; // an empty guest that writes nothing
    EXPECT_EQ(decide({}, stats).action, Action::SwitchOver);
}

TEST(Converge, IsAPureFunction)
{
    const ConvergePolicy policy;
    const MigrationStats stats = stats_of({50000, 40000});
    const Decision first = policy.decide({}, stats);
    (void)policy.decide({}, stats_of({0}));
    const Decision again = policy.decide({}, stats);
    EXPECT_EQ(first.action, again.action);
    EXPECT_EQ(first.reason, again.reason);
}

} // namespace
} // namespace drover
