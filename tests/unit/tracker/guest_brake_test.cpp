// SPDX-License-Identifier: GPL-2.0-or-later
#include "../stream/run_loop.h"
#include "victim.h"
#include "vmm/qemu/throttle/guest_brake.h"

#include <cstdlib>
#include <gtest/gtest.h>

namespace drover::testing {
namespace {

using qemu::GuestBrake;

/// A victim whose team of two threads are the vCPUs.
class Brake : public ::testing::Test {
protected:
    void SetUp() override
    {
        if (const Status works = probe_pagemap_scan(); !works)
            GTEST_SKIP() << works.error().text();
        if (!victim_.mappings()[0].holding)
            GTEST_SKIP() << "this host does not permit QEMU a userfaultfd that makes it wait";
        auto tracker = make_pagemap_scan_tracker(victim_.pid(), victim_.mappings());
        ASSERT_TRUE(tracker) << tracker.error().text();
        tracker_ = std::move(*tracker);
        ASSERT_TRUE(tracker_->start());
        ASSERT_TRUE(victim_.do_it("team 2"));
        threads_.assign(victim_.numbers().begin(), victim_.numbers().end());
    }
    void TearDown() override { unsetenv("DROVER_SLOWDOWN"); }

    Result<std::unique_ptr<GuestBrake>> make(DirtyTracker* tracker, const char* wanted)
    {
        setenv("DROVER_SLOWDOWN", wanted, 1);
        return GuestBrake::create({victim_.pid(), threads_, tracker, victim_.mappings()});
    }
    /// What two vCPUs write within 0.1 s.
    long written()
    {
        PageBitmap dirty(victim_.block().pages());
        EXPECT_TRUE(tracker_->collect(0, 0, dirty.size(), dirty));
        EXPECT_TRUE(victim_.do_it("team-spread 100 0"));
        return victim_.numbers()[0];
    }

    Victim victim_{20'000};
    std::unique_ptr<HoldingTracker> tracker_;
    std::vector<pid_t> threads_;
};

TEST_F(Brake, TakesTheGovernorFirst)
{
    auto brake = make(tracker_.get(), "");
    ASSERT_TRUE(brake) << brake.error().text();
    EXPECT_EQ((*brake)->way(), "");
    ASSERT_TRUE((*brake)->slow_down({.part = 0.5, .most = 0.99, .writes_s = 300}));
    EXPECT_EQ((*brake)->way(), "write-governor");
    (*brake)->release(false);
    EXPECT_EQ((*brake)->way(), "");
    EXPECT_GT(written(), 1000);
}

TEST_F(Brake, TakesTheShareWhereTheRateIsUnknown)
{
    auto brake = make(tracker_.get(), "");
    ASSERT_TRUE(brake) << brake.error().text();
    const Status slowed = (*brake)->slow_down({.part = 0.5, .most = 0.9, .writes_s = 0});
    if (!slowed)
        GTEST_SKIP() << "no control groups here: " << slowed.error().text();
    EXPECT_EQ((*brake)->way(), "vcpu-share");
}

TEST_F(Brake, TakesTheShareWhenTheGovernorGivesUp)
{
    if (auto share = make(nullptr, "vcpu-share"); !share)
        GTEST_SKIP() << "no control groups here: " << share.error().text();
    auto brake = make(tracker_.get(), "");
    ASSERT_TRUE(brake) << brake.error().text();
    ASSERT_TRUE((*brake)->slow_down({.part = 0.01, .most = 0.01, .writes_s = 300}));
    EXPECT_EQ((*brake)->way(), "write-governor");
    for (int turn = 0; turn < 100 && (*brake)->way() == "write-governor"; ++turn) {
        written();
        run_ready();
    }
    EXPECT_EQ((*brake)->way(), "vcpu-share");
}

TEST_F(Brake, InsistsOnWhatIsWanted)
{
    auto none = make(nullptr, "write-governor");
    ASSERT_FALSE(none);
    EXPECT_NE(none.error().message.find("pagemap-scan"), std::string::npos);
    EXPECT_NE(none.error().message.find("DROVER_SLOWDOWN"), std::string::npos);
    auto nonsense = make(tracker_.get(), "prayer");
    ASSERT_FALSE(nonsense);
    EXPECT_NE(nonsense.error().message.find("prayer"), std::string::npos);
}

} // namespace
} // namespace drover::testing
