// SPDX-License-Identifier: GPL-2.0-or-later
//
// verify=on: RAM is compared before the guest may run elsewhere.
#include "../stream/run_loop.h"
#include "migration_rig.h"

#include <atomic>
#include <gtest/gtest.h>

namespace drover::testing {
namespace {

RigOptions verified(bool collects_ranges = true)
{
    return {.blocks = {{"ram0", 200}, {"ram1", 70}},
            .rounds = 3,
            .collects_ranges = collects_ranges,
            .verify = true};
}

class Verify : public ::testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(Trackers, Verify, ::testing::Bool());

TEST_P(Verify, AGuestThatWritesArrivesAsItWas)
{
    MigrationRig rig(verified(GetParam()));
    FakeRam& ram = rig.here.fake_ram;
    std::atomic<uint64_t> seed{1U << 20};
    ram.before_collect_all = [&](unsigned count) {
        for (uint64_t page = count % 5; page < 200; page += 5)
            ram.write(0, page, ++seed);
        ram.write_zeros(0, count);
        ram.write_zeros(1, 60 + count % 10);
    };
    rig.start();
    ASSERT_TRUE(rig.run_to_end());
    rig.expect_moved();
    EXPECT_TRUE(rig.source->report().verified);
    EXPECT_TRUE(same_ram(ram, rig.there.fake_ram));
}

TEST_P(Verify, AWriteThatTheTrackerMissedKeepsTheGuestHere)
{
    MigrationRig rig(verified(GetParam()));
    rig.on_source = [&](SourceState state) {
        if (state == SourceState::Paused)
            rig.here.fake_ram.write_unseen(0, 33, 4711);
    };
    rig.start();
    ASSERT_TRUE(rig.run_to_end());
    rig.expect_stayed();
    EXPECT_NE(rig.source_error()->message.find("page 33 of RAM block ram0"), std::string::npos)
        << rig.source_error()->text();
    EXPECT_EQ(rig.there.take_overs, 0);
}

TEST_P(Verify, WhoWritesToWhatHasArrivedIsFound)
{
    MigrationRig rig(verified(GetParam()));
    rig.on_source = [&](SourceState state) {
        if (state == SourceState::Paused)
            rig.there.fake_ram.write_unseen(1, 7, 4711);
    };
    rig.start();
    ASSERT_TRUE(rig.run_to_end());
    rig.expect_stayed();
    EXPECT_NE(rig.source_error()->message.find("page 7 of RAM block ram1"), std::string::npos)
        << rig.source_error()->text();
    EXPECT_EQ(rig.there.take_overs, 0);
}

TEST(Verify, WhatIsToldInPostcopyIsLeftOut)
{
    RigOptions options = verified();
    options.postcopy = true;
    options.rounds = 1;
    MigrationRig rig(options);
    rig.on_source = [&](SourceState state) {
        if (state == SourceState::Switching)
            for (uint64_t page = 0; page < 200; page += 3)
                rig.here.fake_ram.write(0, page, 9000 + page);
    };
    rig.start();
    ASSERT_TRUE(rig.run_to_end());
    rig.expect_moved();
    EXPECT_TRUE(rig.source->report().postcopy);
    EXPECT_TRUE(same_ram(rig.here.fake_ram, rig.there.fake_ram));
}

TEST(Verify, IsNotDoneUnlessWishedFor)
{
    MigrationRig rig;
    rig.start();
    ASSERT_TRUE(rig.run_to_end());
    rig.expect_moved();
    EXPECT_FALSE(rig.source->report().verified);
}

} // namespace
} // namespace drover::testing
