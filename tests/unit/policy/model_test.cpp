// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/policy/model.h"

#include <cmath>
#include <gtest/gtest.h>

namespace drover {
namespace {

MigrationStats with_windows(double scale, double exponent)
{
    MigrationStats stats;
    stats.pages_total = 1'000'000;
    for (const double seconds : {0.1, 0.2, 0.4, 0.8})
        stats.windows.push_back(
            {seconds, static_cast<uint64_t>(scale * std::pow(seconds, exponent))});
    return stats;
}

TEST(DirtyModel, LearnsTheLawFromWindows)
{
    for (const double exponent : {0.5, 0.8, 1.0}) {
        const DirtyModel model = DirtyModel::of(with_windows(20'000, exponent));
        ASSERT_TRUE(model.known());
        EXPECT_NEAR(model.exponent(), exponent, 0.06);
        EXPECT_NEAR(model.pages_within(0.3), 20'000 * std::pow(0.3, exponent), 600);
        EXPECT_LT(model.spread(), 1.1);
    }
}

TEST(DirtyModel, NeverExceedsTheGuest)
{
    MigrationStats stats = with_windows(20'000, 1);
    stats.pages_total = 50'000;
    EXPECT_EQ(DirtyModel::of(stats).pages_within(1000), 50'000);
}

TEST(DirtyModel, KnowsNothingOfNothing)
{
    EXPECT_FALSE(DirtyModel::of({}).known());
    EXPECT_EQ(DirtyModel::of({}).pages_within(1), 0);
}

TEST(DirtyModel, CountsASlowedGuestAtFullSpeed)
{
    MigrationStats stats;
    for (const unsigned round : {2U, 3U})
        stats.rounds.push_back(
            {.round = round, .seconds = 1, .pages_dirty = 5'000, .slowdown = 0.5});
    EXPECT_NEAR(DirtyModel::of(stats).pages_within(0.5), 5'000, 50);
}

TEST(DirtyModel, BelievesAChangeOfPhaseAfterAFewRounds)
{
    MigrationStats stats;
    for (unsigned round = 2; round < 8; ++round)
        stats.rounds.push_back({.round = round, .seconds = 1, .pages_dirty = 20'000});
    EXPECT_NEAR(DirtyModel::of(stats).pages_within(1), 20'000, 100);
    stats.rounds.push_back({.round = 8, .seconds = 1, .pages_dirty = 1'000});
    EXPECT_GT(DirtyModel::of(stats).pages_within(1), 4'000) << "one quiet round";
    for (unsigned round = 9; round < 12; ++round)
        stats.rounds.push_back({.round = round, .seconds = 1, .pages_dirty = 1'000});
    EXPECT_LT(DirtyModel::of(stats).pages_within(1), 2'000);
}

RoundStats round_at(double bytes_s, double seconds)
{
    return {.round = 2, .bytes = static_cast<uint64_t>(bytes_s * seconds), .seconds = seconds};
}

TEST(LinkModel, HasALevelAndABadMoment)
{
    MigrationStats stats;
    for (const double rate : {110e6, 90e6, 110e6, 90e6})
        stats.rounds.push_back(round_at(rate, 1));
    const LinkModel link = LinkModel::of(stats);
    EXPECT_NEAR(link.bytes_s, 98e6, 5e6);
    EXPECT_NEAR(link.low, 88e6, 5e6);
    EXPECT_FALSE(link.dropped);
}

TEST(LinkModel, SeesADrop)
{
    MigrationStats stats;
    for (const double rate : {100e6, 100e6, 100e6, 30e6})
        stats.rounds.push_back(round_at(rate, 1));
    EXPECT_TRUE(LinkModel::of(stats).dropped);
    for (int i = 0; i < 4; ++i)
        stats.rounds.push_back(round_at(30e6, 1));
    EXPECT_FALSE(LinkModel::of(stats).dropped) << "it is its level now";
}

TEST(LinkModel, ShortRoundsSayLittle)
{
    MigrationStats stats;
    stats.rounds.push_back(round_at(100e6, 1));
    stats.rounds.push_back(round_at(1e6, 0.004)); // only latency
    EXPECT_NEAR(LinkModel::of(stats).bytes_s, 100e6, 1);
    stats.rounds = {round_at(100e6, 0.01), round_at(100e6, 0.002)};
    EXPECT_NEAR(LinkModel::of(stats).bytes_s, 100e6, 1) << "nothing but short ones";
    stats.rounds.clear();
    stats.link_bytes_s = 7e6;
    EXPECT_EQ(LinkModel::of(stats).bytes_s, 7e6);
}

/// 20,000 pages of which each takes an eighth on the wire, as they did in a round that was held up
/// by finding that out.
MigrationStats with_deltas()
{
    MigrationStats stats;
    stats.rounds = {round_at(100e6, 2), round_at(25e6, 0.2)};
    stats.rounds[0].page_bytes = 512;
    stats.rounds[1].pages_sent = 10'000;
    stats.rounds[1].held_by_encoding = true;
    stats.rounds[1].page_bytes = 512;
    return stats;
}

TEST(LinkModel, ARoundThatWaitedForItsEncodingTellsNothingOfTheLink)
{
    const LinkModel link = LinkModel::of(with_deltas());
    EXPECT_NEAR(link.bytes_s, 100e6, 1);
    EXPECT_FALSE(link.dropped);
    MigrationStats stats = with_deltas();
    stats.rounds[0].held_by_encoding = true;
    EXPECT_GT(LinkModel::of(stats).bytes_s, 25e6) << "but where there is no other round it must do";
}

TEST(LinkModel, ReckonsWithWhatEncodingsGain)
{
    MigrationStats stats = with_deltas();
    // 5 MB of 0.2 s were the link's 0.05 s; the rest was the pages' own, 15 µs each.
    const LinkModel link = LinkModel::of(stats);
    EXPECT_EQ(link.page_bytes, 512);
    EXPECT_NEAR(link.page_cpu_s, 15e-6, 1e-7);
    EXPECT_NEAR(link.pages_s(), 1 / (5.12e-6 + 15e-6), 100);
    EXPECT_NEAR(link.seconds_for(1000, 50e6), 0.01024 + 0.015, 1e-4);
    stats.rounds.pop_back();
    EXPECT_GT(LinkModel::of(stats).page_cpu_s, 0) << "before it was seen, too";
    stats.rounds[0].page_bytes = 4000;
    EXPECT_EQ(LinkModel::of(stats).page_cpu_s, 0) << "hardly anything is gained";
    stats.rounds[0].page_bytes = 0;
    EXPECT_EQ(LinkModel::of(stats).page_bytes, 4096);
}

TEST(Prediction, PlaysTheRoundsToCome)
{
    // 2,441 pages/s written, 24,414 carried: each round leaves a tenth.
    MigrationStats stats = with_windows(2'441, 1);
    stats.link_bytes_s = 100e6;
    const Situation now{
        .pages_left = 24'414, .handover_s = 0.01, .downtime_s = 0.03, .first_round = false};
    const Prediction path = predict(DirtyModel::of(stats), LinkModel::of(stats), now, 0);
    EXPECT_TRUE(path.fits);
    EXPECT_EQ(path.rounds, 2U);
    EXPECT_NEAR(path.seconds, 1 + 0.1 + 0.01 + 0.01, 0.03);
    EXPECT_NEAR(path.downtime_s, 0.02, 0.005);
    EXPECT_NEAR(path.bytes, 1.11 * 100e6, 2e6);
}

TEST(Prediction, SeesWhereRoundsNoLongerGain)
{
    MigrationStats stats = with_windows(30'000, 1);
    stats.link_bytes_s = 100e6;
    const Situation now{
        .pages_left = 24'414, .handover_s = 0.01, .downtime_s = 0.1, .first_round = false};
    const DirtyModel dirty = DirtyModel::of(stats);
    const LinkModel link = LinkModel::of(stats);
    EXPECT_FALSE(predict(dirty, link, now, 0).fits);
    EXPECT_TRUE(predict(dirty, link, now, 0.5).fits) << "at half the speed it converges";
}

} // namespace
} // namespace drover
