// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/transport/rate_limit.h"

#include <barrier>
#include <gtest/gtest.h>
#include <thread>
#include <vector>

namespace drover {
namespace {

using namespace std::chrono_literals;

TimePoint at(double seconds)
{
    return TimePoint{} + 1000s + std::chrono::duration_cast<Clock::duration>(Duration(seconds));
}

/// Takes when allowed, as RateLimit does, and returns when that was.
double take_at(TokenBucket& bucket, double now, uint64_t bytes)
{
    const double wait = bucket.wait_time(at(now)).count();
    EXPECT_NEAR(bucket.wait_time(at(now + wait)).count(), 0, 1e-6);
    bucket.take(bytes);
    return now + wait;
}

TEST(TokenBucket, WithoutARateNothingWaits)
{
    TokenBucket bucket;
    for (int i = 0; i < 10; ++i) {
        EXPECT_EQ(bucket.wait_time(at(0)).count(), 0);
        bucket.take(1ULL << 40);
    }
}

TEST(TokenBucket, TheRateHoldsOverTime)
{
    for (const uint64_t rate : {1'000'000ULL, 62'500'000ULL, 1'250'000'000ULL}) {
        TokenBucket bucket;
        bucket.set_rate(rate, at(0));
        const uint64_t frame = 512 << 10;
        double now = 0;
        for (uint64_t sent = 0; sent < 10 * rate; sent += frame)
            now = take_at(bucket, now, frame);
        const double burst = std::max(0.010, 65536.0 / double(rate)) + double(frame) / double(rate);
        EXPECT_LE(now, 10.001);
        EXPECT_GE(now, 10 - burst - double(frame) / double(rate) - 0.001) << rate;
    }
}

TEST(TokenBucket, ABurstIsAtMostTenMillisecondsAndAFrame)
{
    TokenBucket bucket;
    bucket.set_rate(100'000'000, at(0));
    EXPECT_EQ(bucket.wait_time(at(3600)).count(), 0); // an hour of nothing fills no more than that
    int frames = 0;
    while (bucket.wait_time(at(3600)).count() == 0) {
        bucket.take(100'000);
        ++frames;
    }
    EXPECT_EQ(frames, 11); // 1 MB, and one more into debt
    EXPECT_NEAR(bucket.wait_time(at(3600)).count(), 0.001, 1e-6);
}

TEST(TokenBucket, TheSmallestBucketIs64Kib)
{
    TokenBucket bucket;
    bucket.set_rate(1000, at(0));
    bucket.take(64 << 10);
    EXPECT_EQ(bucket.wait_time(at(0)).count(), 0);
    bucket.take(500);
    EXPECT_NEAR(bucket.wait_time(at(0)).count(), 0.5, 1e-6);
    EXPECT_NEAR(bucket.wait_time(at(0.2)).count(), 0.3, 1e-6);
}

TEST(TokenBucket, ALargeFrameIsPaidByTheNext)
{
    TokenBucket bucket;
    bucket.set_rate(10'000'000, at(0));
    EXPECT_EQ(take_at(bucket, 0, 4'100'000), 0);
    EXPECT_NEAR(take_at(bucket, 0, 1), 0.4, 0.001);
}

TEST(TokenBucket, ARaisedRatePaysOldDebtFaster)
{
    TokenBucket bucket;
    bucket.set_rate(1000, at(0));
    bucket.take(1'065'536); // a debt of 1 MB: 1,000 s
    EXPECT_NEAR(bucket.wait_time(at(0)).count(), 1000, 0.1);
    bucket.set_rate(1'000'000, at(0));
    EXPECT_NEAR(bucket.wait_time(at(0)).count(), 1, 0.001);
    bucket.set_rate(0, at(0));
    EXPECT_EQ(bucket.wait_time(at(0)).count(), 0);
}

TEST(TokenBucket, ALoweredRateKeepsTheDebtsTime)
{
    TokenBucket bucket;
    bucket.set_rate(100'000'000, at(0));
    bucket.take(11'000'000); // a debt of 10 MB: 0.1 s
    bucket.set_rate(1000, at(0));
    EXPECT_NEAR(bucket.wait_time(at(0)).count(), 0.1, 1e-6);
}

TEST(TokenBucket, TimeThatStandsStillOrRunsBack)
{
    TokenBucket bucket;
    bucket.set_rate(1'000'000, at(10));
    bucket.take(1'065'536);
    EXPECT_NEAR(bucket.wait_time(at(9)).count(), 1, 1e-6);
    EXPECT_NEAR(bucket.wait_time(at(10)).count(), 1, 1e-6);
    EXPECT_NEAR(bucket.wait_time(at(10.5)).count(), 0.5, 1e-6);
}

TEST(RateLimit, UnlimitedAndWithinTheBucketNothingWaits)
{
    RateLimit limit;
    EXPECT_TRUE(limit.acquire(1ULL << 40));
    limit.set_rate(1);
    EXPECT_TRUE(limit.acquire(1ULL << 40));
}

TEST(RateLimit, ALimitedCallerWaits)
{
    RateLimit limit;
    limit.set_rate(10'000'000);
    const TimePoint start = Clock::now();
    ASSERT_TRUE(limit.acquire(300'000)); // the bucket's 100 kB and 20 ms more
    ASSERT_TRUE(limit.acquire(1));
    EXPECT_GE(milliseconds_since(start), 19.9);
}

TEST(RateLimit, StopWakesAllWaitersAndStartUndoesIt)
{
    RateLimit limit;
    limit.set_rate(1);
    ASSERT_TRUE(limit.acquire(1ULL << 40)); // everybody else now waits for thousands of years
    std::barrier ready(4);
    std::vector<std::jthread> waiters;
    for (int i = 0; i < 3; ++i)
        waiters.emplace_back([&] {
            ready.arrive_and_wait();
            EXPECT_FALSE(limit.acquire(1));
        });
    ready.arrive_and_wait();
    limit.stop();
    waiters.clear();
    EXPECT_FALSE(limit.acquire(1));
    limit.set_rate(0);
    EXPECT_FALSE(limit.acquire(1));
    limit.start();
    EXPECT_TRUE(limit.acquire(1));
}

TEST(RateLimit, ANewRateTakesEffectForWaiters)
{
    for (const uint64_t rate : {uint64_t{0}, uint64_t{1} << 50}) {
        RateLimit limit;
        limit.set_rate(1);
        ASSERT_TRUE(limit.acquire(1ULL << 40));
        std::barrier ready(2);
        std::jthread waiter([&] {
            ready.arrive_and_wait();
            EXPECT_TRUE(limit.acquire(1));
        });
        ready.arrive_and_wait();
        limit.set_rate(rate);
    }
}

TEST(RateLimit, SeveralThreadsShareTheRate)
{
    RateLimit limit;
    limit.set_rate(100'000'000);
    const TimePoint start = Clock::now();
    {
        std::vector<std::jthread> threads;
        for (int i = 0; i < 4; ++i)
            threads.emplace_back([&] {
                for (int k = 0; k < 25; ++k)
                    EXPECT_TRUE(limit.acquire(50'000));
            });
        for (int k = 0; k < 10; ++k)
            limit.set_rate(100'000'000); // the same again, from another thread
    }
    // 5 MB, of which the bucket held 1 and the last goes into debt: 39.5 ms at the least.
    EXPECT_GE(milliseconds_since(start), 39);
}

} // namespace
} // namespace drover
