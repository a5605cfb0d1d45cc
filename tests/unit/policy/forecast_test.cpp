// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/policy/forecast.h"

#include <gtest/gtest.h>

namespace drover {
namespace {

/// A guest that writes so many pages a second, all of them different, over 24,414 pages/s.
MigrationStats writing(double pages_a_second)
{
    MigrationStats stats;
    stats.pages_total = 100'000;
    stats.link_bytes_s = 100e6;
    stats.handover_s = 0.01;
    stats.can_slow = true;
    for (const double seconds : {0.1, 0.2, 0.4, 0.8})
        stats.windows.push_back({seconds, static_cast<uint64_t>(pages_a_second * seconds)});
    return stats;
}

TEST(Forecast, OfAQuietGuest)
{
    MigrationWish wish;
    wish.deadline_s = 60;
    const std::vector<Way> ways = forecast(wish, writing(2'000));
    ASSERT_EQ(ways.size(), 3U);
    EXPECT_EQ(ways[0].name, "precopy");
    EXPECT_TRUE(ways[0].keeps_wish) << ways[0].why;
    EXPECT_NEAR(ways[0].total_s.expected, 4.3, 0.2);
    EXPECT_LT(ways[0].total_s.low, ways[0].total_s.expected);
    EXPECT_GT(ways[0].total_s.high, ways[0].total_s.expected);
    EXPECT_LE(ways[0].downtime_s.expected, 0.3);
    EXPECT_EQ(ways[0].slowdown, 0);
}

TEST(Forecast, OfAGuestThatOutrunsTheLink)
{
    MigrationWish wish;
    wish.downtime_s = 0.05;
    wish.deadline_s = 60;
    std::vector<Way> ways = forecast(wish, writing(30'000));
    EXPECT_FALSE(ways[0].possible);
    EXPECT_EQ(ways[1].name, "slowed");
    EXPECT_TRUE(ways[1].possible);
    EXPECT_FALSE(ways[1].keeps_wish) << "max-slowdown is 0";
    EXPECT_GT(ways[1].slowdown, 0.1);
    wish.max_slowdown = 0.9;
    ways = forecast(wish, writing(30'000));
    EXPECT_TRUE(ways[1].keeps_wish) << ways[1].why;
}

TEST(Forecast, SaysAtTheStartWhatTheHostDoesNotPermit)
{
    MigrationStats stats = writing(30'000);
    stats.can_slow = false;
    const std::vector<Way> ways = forecast({}, stats);
    EXPECT_FALSE(ways[1].possible);
    EXPECT_NE(ways[1].why.find("permits no way"), std::string::npos);
    EXPECT_FALSE(ways[2].possible);
    EXPECT_FALSE(ways[2].why.empty());
}

TEST(Forecast, OfPostcopyDependsLittleOnTheWriting)
{
    MigrationWish wish;
    wish.downtime_s = 0.05;
    for (const double rate : {1'000.0, 30'000.0, 200'000.0}) {
        MigrationStats stats = writing(rate);
        stats.can_postcopy = true;
        const Way way = forecast(wish, stats)[2];
        EXPECT_TRUE(way.keeps_wish) << way.why;
        EXPECT_NEAR(way.downtime_s.expected, 0.01, 1e-9);
        EXPECT_GE(way.total_s.expected, 4.09) << "a round of all";
        EXPECT_LE(way.total_s.expected, 8.3) << "and at most all of it once more";
    }
    MigrationStats stats = writing(1'000);
    EXPECT_EQ(forecast(wish, stats, "no right to it")[2].why, "no right to it");
}

TEST(Forecast, ZerosAreNotSent)
{
    MigrationStats stats = writing(0);
    const double all = forecast({}, stats)[0].bytes.expected;
    stats.contents.zero = 0.25;
    EXPECT_NEAR(forecast({}, stats)[0].bytes.expected, 0.75 * all, 0.01 * all);
}

TEST(Forecast, ReckonsWithWhatIsCompressedAndWithDeltas)
{
    MigrationWish wish;
    wish.downtime_s = 0.05;
    MigrationStats stats = writing(30'000);
    EXPECT_FALSE(forecast(wish, stats)[0].possible);
    const double all = forecast(wish, writing(0))[0].bytes.expected;
    stats.contents = {.sampled = 500, .compressed = 0.2, .rewritten = 100, .delta = 0.04};
    const Way way = forecast(wish, stats)[0];
    EXPECT_TRUE(way.possible) << way.why;
    EXPECT_NEAR(way.bytes.expected, 0.26 * all, 0.1 * all);
    EXPECT_LT(way.total_s.expected, 2.7);
    stats.contents.compressed = 0.6;
    EXPECT_GT(forecast(wish, stats)[0].bytes.expected, 0.95 * all)
        << "it takes longer than it saves";
    stats.link_bytes_s = 1e9;
    EXPECT_NEAR(forecast(wish, stats)[0].bytes.expected, 1.15 * all, 0.2 * all) << "not there";
}

} // namespace
} // namespace drover
