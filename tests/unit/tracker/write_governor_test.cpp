// SPDX-License-Identifier: GPL-2.0-or-later
#include "util/clock.h"
#include "victim.h"
#include "vmm/qemu/throttle/write_governor.h"
#include "vmm/qemu/tracker/pagemap_scan.h"

#include <chrono>
#include <csignal>
#include <gtest/gtest.h>
#include <semaphore>
#include <sys/wait.h>

namespace drover::testing {
namespace {

using qemu::GovernorLimits;
using qemu::WriteGovernor;

constexpr double no_bound = 1; ///< of waiting

/// A victim whose team of threads are the vCPUs.
class Governor : public ::testing::Test {
protected:
    static constexpr uint64_t pages = 20'000;

    void SetUp() override { begin(pages, 2); }

    void begin(uint64_t size, unsigned vcpus)
    {
        if (const Status works = probe_pagemap_scan(); !works)
            GTEST_SKIP() << works.error().text();
        governor_.reset();
        tracker_.reset();
        victim_ = std::make_unique<Victim>(size);
        if (!victim_->mappings()[0].holding)
            GTEST_SKIP() << "this host does not permit QEMU a userfaultfd that makes it wait";
        auto tracker = make_pagemap_scan_tracker(victim_->pid(), victim_->mappings());
        ASSERT_TRUE(tracker) << tracker.error().text();
        tracker_ = std::move(*tracker);
        ASSERT_TRUE(victim_->do_it("team " + std::to_string(vcpus)));
        const std::vector<pid_t> threads(victim_->numbers().begin(), victim_->numbers().end());
        ASSERT_EQ(threads.size(), vcpus);
        auto governor = WriteGovernor::create(victim_->pid(), *tracker_, victim_->mappings(),
                                              threads, [this](const Error& why) {
                                                  why_ = why.text();
                                                  gave_up_.release();
                                              });
        ASSERT_TRUE(governor) << governor.error().text();
        governor_ = std::move(*governor);
        ASSERT_TRUE(tracker_->start());
    }

    void govern(double writes_s, double most = no_bound)
    {
        governor_->govern({writes_s, most});
        governor_->settle();
    }
    void end()
    {
        governor_->end();
        governor_->settle();
    }
    /// First writes to pages by the team for so long, pages/s.
    double rate(unsigned ms, unsigned between_us = 0)
    {
        EXPECT_TRUE(
            victim_->do_it("team-spread " + std::to_string(ms) + " " + std::to_string(between_us)));
        if (victim_->numbers().size() != 2)
            return 0;
        return static_cast<double>(victim_->numbers()[0]) * 1e6 /
               static_cast<double>(victim_->numbers()[1]);
    }
    /// How many pages were written since they were last collected.
    uint64_t collect()
    {
        PageBitmap dirty(victim_->block().pages());
        const Status status = tracker_->collect(0, 0, dirty.size(), dirty);
        EXPECT_TRUE(status) << status.error().text();
        return dirty.count();
    }

    std::unique_ptr<Victim> victim_;
    std::unique_ptr<HoldingTracker> tracker_;
    std::string why_;
    std::binary_semaphore gave_up_{0};
    std::unique_ptr<WriteGovernor> governor_;
};

TEST_F(Governor, KeepsARateWithinATenth)
{
    for (const double wish : {500.0, 2'000.0, 10'000.0}) {
        collect();
        govern(wish);
        const double got = rate(1000);
        printf("wished for %.0f pages/s, got %.0f\n", wish, got);
        EXPECT_GT(got, 0.9 * wish);
        EXPECT_LT(got, 1.1 * wish);
        EXPECT_EQ(collect(), static_cast<uint64_t>(victim_->numbers()[0]));
    }
}

TEST_F(Governor, DoesNotKeepReadersAndWritersOfDirtyPagesWaiting)
{
    govern(1000);
    ASSERT_TRUE(victim_->do_it("team-work 0 50 1"));
    const uint64_t before = governor_->stats().governed;
    const double waited = governor_->stats().waited_s;
    EXPECT_EQ(before, 50U) << "one fault for each page that is written";
    const TimePoint start = Clock::now();
    ASSERT_TRUE(victim_->do_it("team-work 0 50 200"));
    const double governed_s = seconds_since(start);
    EXPECT_EQ(governor_->stats().governed, before);
    EXPECT_DOUBLE_EQ(governor_->stats().waited_s, waited);
    end();
    const TimePoint free = Clock::now();
    ASSERT_TRUE(victim_->do_it("team-work 0 50 200"));
    printf("reading and rewriting: %.0f ms governed, %.0f ms free\n", governed_s * 1e3,
           milliseconds_since(free));
}

TEST_F(Governor, LetsOtherThreadsWriteAtOnce)
{
    govern(1);
    const TimePoint start = Clock::now();
    ASSERT_TRUE(victim_->do_it("fill"));
    EXPECT_EQ(governor_->stats().governed, 0U);
    EXPECT_EQ(governor_->stats().let, pages);
    printf("%.1f us a page\n", seconds_since(start) * 1e6 / pages);
    EXPECT_EQ(collect(), pages);
}

TEST_F(Governor, KeepsAVcpuWaitingForTenMillisecondsAtMost)
{
    govern(0.001);
    const double got = rate(300);
    EXPECT_GT(got, 2 / 0.015) << "two vCPUs";
    EXPECT_LT(got, 2 / 0.0095);
}

TEST_F(Governor, KeepsTheShareOfWaiting)
{
    for (const double most : {0.3, 0.6}) {
        collect();
        const double waited = governor_->stats().waited_s;
        govern(500, most);
        const TimePoint start = Clock::now();
        EXPECT_GT(rate(300, 200), 550) << "the guest comes first";
        const double share = (governor_->stats().waited_s - waited) / seconds_since(start) / 2;
        printf("waited for %.1f %% of the time, permitted %.0f %%\n", share * 100, most * 100);
        EXPECT_LE(share, most + 0.01);
        EXPECT_GT(share, most * 0.7);
    }
}

TEST_F(Governor, GivesUpAGuestWhoseFaultsAloneCostTooMuch)
{
    govern(500, 0.01);
    bool gave_up = false;
    for (int turn = 0; turn < 100 && !gave_up; ++turn) {
        collect();
        rate(100);
        gave_up = gave_up_.try_acquire();
    }
    ASSERT_TRUE(gave_up);
    EXPECT_NE(why_.find("more than is permitted"), std::string::npos);
    collect();
    EXPECT_GT(rate(100), 5000);
}

TEST_F(Governor, EndsAtOnce)
{
    govern(10);
    victim_->tell("team-spread 200 0");
    governor_->release();
    ASSERT_TRUE(victim_->answer());
    EXPECT_GT(victim_->numbers()[0], 500);
    collect();
    govern(10);
    victim_->tell("team-spread 200 0");
    end();
    ASSERT_TRUE(victim_->answer());
    EXPECT_GT(victim_->numbers()[0], 5000);
    const uint64_t before = governor_->stats().governed;
    collect();
    rate(50);
    EXPECT_EQ(governor_->stats().governed, before) << "there are no faults any more";
}

TEST_F(Governor, EndsWhenTheTrackerStops)
{
    govern(10);
    victim_->tell("team-spread 200 0");
    governor_->release();
    tracker_->stop();
    ASSERT_TRUE(victim_->answer());
    EXPECT_GT(victim_->numbers()[0], 5000);
    const uint64_t before = governor_->stats().governed;
    ASSERT_TRUE(tracker_->start()); // for another migration
    EXPECT_EQ(collect(), 0U);
    EXPECT_GT(rate(50), 5000);
    EXPECT_EQ(collect(), static_cast<uint64_t>(victim_->numbers()[0]));
    EXPECT_EQ(governor_->stats().governed, before);
    govern(2000);
    EXPECT_LT(rate(200), 2200);
}

TEST_F(Governor, KeepsWhatWasWrittenBeforeItChanges)
{
    ASSERT_TRUE(victim_->do_it("write 3 1"));
    govern(1000);
    ASSERT_TRUE(victim_->do_it("write 70 1"));
    end();
    ASSERT_TRUE(victim_->do_it("write 5000 1"));
    PageBitmap dirty(pages);
    ASSERT_TRUE(tracker_->collect(0, 0, 64, dirty));
    EXPECT_EQ(dirty.count(), 1U);
    ASSERT_TRUE(tracker_->collect(0, 64, pages, dirty));
    EXPECT_TRUE(dirty.test(3) && dirty.test(70) && dirty.test(5000));
    EXPECT_EQ(dirty.count(), 3U);
    EXPECT_EQ(collect(), 0U);
}

/// Copies what is collected of its part of the memory, until told to end, and once more then.
class Copier {
public:
    Copier(HoldingTracker& tracker, const RamBlock& block, uint64_t first, uint64_t end)
        : tracker_(tracker), block_(block), first_(first), end_(end),
          copy_((end - first) * ram_page_size), thread_([this](std::stop_token stop) {
              while (!stop.stop_requested())
                  turn();
          })
    {
    }
    /// Whether the copy is true in the end.
    bool end()
    {
        thread_.request_stop();
        thread_.join();
        turn();
        std::vector<std::byte> now(copy_.size());
        return read_ram(block_, first_ * ram_page_size, now) && now == copy_ && turns_ > 2;
    }

private:
    void turn()
    {
        ++turns_;
        for (uint64_t at = first_; at < end_; at += 512) {
            const uint64_t stop = std::min(at + 512, end_);
            PageBitmap dirty(block_.pages());
            EXPECT_TRUE(tracker_.collect(0, at, stop, dirty));
            for (uint64_t page = dirty.next_set(at, stop); page < stop;
                 page = dirty.next_set(page + 1, stop))
                EXPECT_TRUE(read_ram(
                    block_, page * ram_page_size,
                    std::span(copy_).subspan((page - first_) * ram_page_size, ram_page_size)));
        }
    }

    HoldingTracker& tracker_;
    const RamBlock& block_;
    uint64_t first_, end_;
    unsigned turns_ = 0;
    std::vector<std::byte> copy_;
    std::jthread thread_;
};

/// Turns the governor on and off until the victim has done what it was told.
unsigned change_until_answered(Victim& victim, WriteGovernor& governor)
{
    unsigned changes = 0;
    for (; !victim.has_answered(); ++changes) {
        if (changes % 2 == 0)
            governor.govern({50'000, changes % 3 == 0 ? no_bound : 0.9});
        else
            governor.end();
        governor.settle();
    }
    EXPECT_TRUE(victim.answer());
    return changes;
}

TEST_F(Governor, MissesNoWriteWhileItBeginsAndEnds)
{
    begin(2000, 4);
    ASSERT_FALSE(HasFailure());
    Copier lower(*tracker_, victim_->block(), 0, 1024);
    Copier upper(*tracker_, victim_->block(), 1024, 2000);
    unsigned changes = 0; // on a busy machine a change may take as long as all writes
    for (int turn = 0; turn < 20 && changes < 6; ++turn) {
        victim_->tell("team-scribble 300000");
        changes += change_until_answered(*victim_, *governor_);
    }
    EXPECT_GT(changes, 2U);
    EXPECT_TRUE(lower.end());
    EXPECT_TRUE(upper.end());
    EXPECT_LT(governor_->stats().longest_still_s, 0.5) << "for those who collect";
}

/// What is missed is not made good by the next write to the same page.
TEST_F(Governor, MissesNoPageThatIsWrittenOnce)
{
    unsigned changes = 0;
    for (int turn = 0; turn < 4; ++turn) {
        Copier lower(*tracker_, victim_->block(), 0, 10'240);
        Copier upper(*tracker_, victim_->block(), 10'240, pages);
        victim_->tell("fill");
        ASSERT_TRUE(victim_->answer());
        victim_->tell("team-spread 10000 10");
        changes += change_until_answered(*victim_, *governor_);
        ASSERT_TRUE(lower.end());
        ASSERT_TRUE(upper.end());
    }
    EXPECT_GT(changes, 8U);
}

TEST_F(Governor, ADeadProcessIsAnErrorAndNoHang)
{
    govern(10);
    victim_->tell("team-spread 10000 0");
    kill(victim_->pid(), SIGKILL);
    siginfo_t info{};
    ASSERT_EQ(waitid(P_PID, static_cast<id_t>(victim_->pid()), &info, WEXITED | WNOWAIT), 0);
    end();
    EXPECT_TRUE(gave_up_.try_acquire_for(std::chrono::seconds(10)));
    PageBitmap dirty(pages);
    EXPECT_FALSE(tracker_->collect(0, 0, pages, dirty));
    tracker_->stop();
    govern(10);
    EXPECT_TRUE(gave_up_.try_acquire_for(std::chrono::seconds(10)));
}

TEST_F(Governor, WithoutTheRightToItSaysSo)
{
    std::vector<BlockMapping> blocks(1);
    blocks[0].address = victim_->mappings()[0].address;
    blocks[0].pages = pages;
    blocks[0].holding_error = EPERM;
    auto tracker = make_pagemap_scan_tracker(victim_->pid(), blocks);
    ASSERT_TRUE(tracker);
    const auto made =
        WriteGovernor::create(victim_->pid(), **tracker, blocks, {1}, [](const Error&) {});
    ASSERT_FALSE(made);
    EXPECT_NE(made.error().text().find("vm.unprivileged_userfaultfd"), std::string::npos);
    blocks[0].backing_page = 2 << 20;
    const auto huge =
        WriteGovernor::create(victim_->pid(), **tracker, blocks, {1}, [](const Error&) {});
    ASSERT_FALSE(huge);
    EXPECT_NE(huge.error().message.find("huge pages"), std::string::npos);
}

TEST_F(Governor, StandsStillForMilliseconds)
{
    constexpr uint64_t half_gibibyte = (512ULL << 20) / ram_page_size;
    begin(half_gibibyte, 1);
    ASSERT_FALSE(HasFailure());
    ASSERT_TRUE(victim_->do_it("fill"));
    collect();
    govern(1e9, 0.6);
    const auto& stats = governor_->stats();
    const double all_s = stats.still_s;
    printf("512 MiB: stood still for %.1f ms, %.2f ms at once; %.1f us a fault\n", all_s * 1e3,
           stats.longest_still_s * 1e3, 1e6 / rate(200));
    end();
    printf("and %.1f ms for the way back\n", (stats.still_s - all_s) * 1e3);
    EXPECT_GT(all_s, 0);
    EXPECT_LT(all_s / 16, 0.01) << "on average";
}

} // namespace
} // namespace drover::testing
