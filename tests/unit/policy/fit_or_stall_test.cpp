// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/policy/policy.h"

#include <gtest/gtest.h>

namespace drover {
namespace {

using Action = Decision::Action;

constexpr double link = 100e6; // bytes/s in all tables

/// Rounds that took as long as the link needs for them; each left `dirty` pages.
MigrationStats stats_of(const std::vector<uint64_t>& dirty)
{
    MigrationStats stats;
    uint64_t pages = 100'000;
    for (const uint64_t left : dirty) {
        RoundStats round;
        round.round = static_cast<unsigned>(stats.rounds.size()) + 1;
        round.pages_sent = pages;
        round.bytes = pages * 4096;
        round.seconds = static_cast<double>(round.bytes) / link;
        round.pages_dirty = left;
        stats.rounds.push_back(round);
        stats.elapsed_s += round.seconds;
        pages = left;
    }
    stats.handover_s = 0.010;
    return stats;
}

struct Case {
    const char* name;
    std::vector<uint64_t> dirty;
    MigrationWish wish;
    Action action;
    const char* words;
};

class FitOrStall : public ::testing::TestWithParam<Case> {};

// 24,414 pages take a second. 300 ms hold 7,080 pages besides the hand-over.
INSTANTIATE_TEST_SUITE_P(
    Table, FitOrStall,
    ::testing::Values(
        Case{"NothingLeft", {0}, {0.3, {}}, Action::SwitchOver, "round 1: 0 pages left"},
        Case{"JustFits", {7000}, {0.3, {}}, Action::SwitchOver, "297 ms at 100 MB/s, wish 300 ms"},
        Case{"JustDoesNotFit", {7100}, {0.3, {}}, Action::NextRound, "another round"},
        Case{"FitsNotAShorterWish", {7000}, {0.05, {}}, Action::NextRound, "wish 50.0 ms"},
        Case{"ConvergesInTheEnd", {50000, 20000, 50}, {0.3, {}}, Action::SwitchOver, "round 3"},
        Case{"FitsButAnotherRoundCostsLittle",
             {50000, 20000, 5000}, // 5,000 take 0.2 s of 7, and would leave 1,250
             {0.3, {}},
             Action::NextRound,
             "another round costs little"},
        Case{"FitsAndAnotherRoundWouldLeaveAsMuch",
             {50000, 5000, 4000},
             {0.3, {}},
             Action::SwitchOver,
             "round 3"},
        Case{"FitsAndAnotherRoundWouldTakeLong",
             {6500}, // 0.27 s of 4.1
             {0.3, {}},
             Action::SwitchOver,
             "round 1"},
        Case{"TwoRoundsWithoutGainAreABurst",
             {50000, 50000, 50000},
             {0.3, {}},
             Action::NextRound,
             "another round"},
        Case{"ThreeAreAStall",
             {50000, 50000, 50000, 50000},
             {0.3, {}},
             Action::SwitchOver,
             "3 rounds in a row gained nothing"},
        Case{"AGainOfATenthIsOne",
             {50000, 45000 - 1, 40000, 35000},
             {0.3, {}},
             Action::NextRound,
             "another round"},
        Case{"LessThanATenthIsNone",
             {50000, 48000, 46000, 44000},
             {0.3, {}},
             Action::SwitchOver,
             "gained nothing"},
        Case{"AGainBetweenBeginsTheCountAgain",
             {50000, 50000, 50000, 30000, 30000, 30000},
             {0.3, {}},
             Action::NextRound,
             "another round"},
        Case{"GrowthIsNoGain",
             {20000, 30000, 40000, 50000},
             {0.3, {}},
             Action::SwitchOver,
             "gained nothing"},
        Case{"TheDeadlineStillLeavesARound",
             {50000}, // 4.1 s are over; a round and the downtime take 2 × 2.05 s
             {0.3, 9},
             Action::NextRound,
             "another round"},
        Case{"TheDeadlineLeavesNone",
             {50000},
             {0.3, 8},
             Action::SwitchOver,
             "the deadline leaves no time"}),
    [](const auto& test) { return std::string(test.param.name); });

TEST_P(FitOrStall, Decides)
{
    const Decision decision =
        FitOrStallPolicy().decide(GetParam().wish, stats_of(GetParam().dirty));
    EXPECT_EQ(decision.action, GetParam().action) << decision.reason;
    EXPECT_NE(decision.reason.find(GetParam().words), std::string::npos) << decision.reason;
    const double expected = static_cast<double>(GetParam().dirty.back()) * 4096 / link + 0.010;
    EXPECT_NEAR(decision.predicted_downtime_s, expected, 1e-9);
}

TEST(FitOrStall, IsAPureFunction)
{
    const FitOrStallPolicy policy;
    const MigrationStats stats = stats_of({50000, 40000});
    const Decision first = policy.decide({}, stats);
    (void)policy.decide({}, stats_of({0}));
    const Decision again = policy.decide({}, stats);
    EXPECT_EQ(first.action, again.action);
    EXPECT_EQ(first.reason, again.reason);
}

TEST(FitOrStall, WithoutAnythingSentItDoesNotGuess)
{
    MigrationStats stats;
    stats.rounds.push_back({.round = 1, .seconds = 0.001, .pages_dirty = 100});
    EXPECT_EQ(FitOrStallPolicy().decide({}, stats).action, Action::NextRound);
    stats.rounds[0].pages_dirty = 0; // an empty guest that writes nothing
    EXPECT_EQ(FitOrStallPolicy().decide({}, stats).action, Action::SwitchOver);
}

TEST(Goodput, IsThatOfTheLatestRoundLongEnoughToTell)
{
    MigrationStats stats;
    EXPECT_EQ(estimated_goodput(stats), 0);
    stats.rounds.push_back({.round = 1, .bytes = 100'000'000, .seconds = 1});
    EXPECT_DOUBLE_EQ(estimated_goodput(stats), 100e6);
    stats.rounds.push_back({.round = 2, .bytes = 5'000'000, .seconds = 0.1}); // the link got slower
    EXPECT_DOUBLE_EQ(estimated_goodput(stats), 50e6);
    stats.rounds.push_back({.round = 3, .bytes = 1000, .seconds = 0.004}); // only latency
    EXPECT_DOUBLE_EQ(estimated_goodput(stats), 50e6);
    stats.rounds.push_back({.round = 4, .bytes = 0, .seconds = 0.5}); // nothing was sent
    EXPECT_DOUBLE_EQ(estimated_goodput(stats), 50e6);
}

TEST(Goodput, OfShortRoundsIsThatOfAllTogether)
{
    MigrationStats stats;
    stats.rounds.push_back({.round = 1, .bytes = 1'000'000, .seconds = 0.010});
    stats.rounds.push_back({.round = 2, .bytes = 200'000, .seconds = 0.002});
    EXPECT_DOUBLE_EQ(estimated_goodput(stats), 100e6);
}

} // namespace
} // namespace drover
