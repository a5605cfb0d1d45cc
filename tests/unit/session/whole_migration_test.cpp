// SPDX-License-Identifier: GPL-2.0-or-later
#include "../stream/run_loop.h"
#include "migration_rig.h"

#include <gtest/gtest.h>

namespace drover::testing {
namespace {

using Step = FakeMachine::Step;
using Act = FakeMachine::Act;

const std::vector<FakeBlock> two_blocks = {{"ram0", 1300}, {"ram1", 70}};

struct Shape {
    unsigned channels;
    bool collects_ranges;
    bool tcp;
};

class WholeMigration : public ::testing::TestWithParam<Shape> {
protected:
    RigOptions options() const
    {
        return {.blocks = two_blocks,
                .channels = GetParam().channels,
                .rounds = 3,
                .collects_ranges = GetParam().collects_ranges,
                .tcp = GetParam().tcp};
    }
};

INSTANTIATE_TEST_SUITE_P(Shapes, WholeMigration,
                         ::testing::Values(Shape{1, true, true}, Shape{2, true, true},
                                           Shape{5, true, false}, Shape{1, false, false},
                                           Shape{2, false, true}, Shape{5, false, true}),
                         [](const auto& test) {
                             return std::to_string(test.param.channels) + "Channels" +
                                    (test.param.collects_ranges ? "Ranges" : "All") +
                                    (test.param.tcp ? "Tcp" : "Unix");
                         });

TEST_P(WholeMigration, OfAGuestThatWritesNothing)
{
    MigrationRig rig(options());
    rig.start();
    ASSERT_TRUE(rig.run_to_end());
    rig.expect_moved();
    EXPECT_TRUE(same_ram(rig.here.fake_ram, rig.there.fake_ram));
    ASSERT_GE(rig.source->report().rounds.size(), 3U);
    const RoundStats& first = rig.source->report().rounds[0];
    // Of 16 pages nine hold data and two written zeros; five are holes, which are not even read.
    EXPECT_EQ(first.pages_sent, 733U + 42);
    EXPECT_EQ(first.pages_zero, 162U + 8);
    EXPECT_EQ(rig.source->report().rounds[1].pages_sent, 0U);
    EXPECT_EQ(rig.source->report().device_bytes, 8000U);
}

TEST_P(WholeMigration, OfAGuestThatWritesAllTheTime)
{
    MigrationRig rig(options());
    FakeRam& ram = rig.here.fake_ram;
    std::atomic<uint64_t> seed{1 << 20};
    ram.before_collect = [&](size_t block, uint64_t first) {
        ram.write(block, first, ++seed); // just before its stripe's turn
    };
    ram.before_collect_all = [&](unsigned count) {
        for (uint64_t page = count % 7; page < 1300; page += 7)
            ram.write(0, page, ++seed); // holes among them
        for (uint64_t page = count; page < 1300; page += 11)
            ram.write_zeros(0, page); // data before, some of them written just now
        ram.write(1, 69, ++seed);
    };
    rig.on_source = [&](SourceState state) {
        if (state == SourceState::Switching) {
            EXPECT_TRUE(ram.write(1, 3, ++seed));
        } else if (state == SourceState::Paused) {
            EXPECT_FALSE(ram.write(1, 4, ++seed)) << "the guest stands still";
        }
    };
    rig.start();
    ASSERT_TRUE(rig.run_to_end());
    rig.expect_moved();
    EXPECT_TRUE(same_ram(ram, rig.there.fake_ram));
}

TEST_P(WholeMigration, OfAGuestThatGivesMemoryBack)
{
    MigrationRig rig(options());
    rig.here.gives_back = true;
    FakeRam& ram = rig.here.fake_ram;
    ram.before_collect_all = [&](unsigned count) {
        if (count == 1)
            ram.give_back(0, 100, 400);
        if (count == 2) {
            ram.give_back(0, 600, 700);
            ram.give_back(1, 0, 70);
            ram.write(0, 120, 77); // taken again
            ram.write(0, 650, 78);
        }
    };
    rig.start();
    ASSERT_TRUE(rig.run_to_end());
    rig.expect_moved();
    EXPECT_TRUE(same_ram(ram, rig.there.fake_ram));
}

TEST(Migration, OfAGuestWithoutAnyContent)
{
    MigrationRig rig({.blocks = {{"empty", 4096}}});
    FakeRam& ram = rig.here.fake_ram;
    ram.give_back(0, 0, 4096);
    rig.start();
    ASSERT_TRUE(rig.run_to_end());
    rig.expect_moved();
    EXPECT_TRUE(is_untouched(rig.there.fake_ram));
    EXPECT_TRUE(is_untouched(ram)) << "reading holes filled them";
    EXPECT_EQ(rig.source->report().rounds[0].bytes, 0U);
}

TEST(Migration, OfAPausedGuestLeavesItPaused)
{
    MigrationRig rig;
    rig.here.boot(false);
    rig.start();
    ASSERT_TRUE(rig.run_to_end());
    EXPECT_EQ(rig.source->state(), SourceState::Completed);
    EXPECT_EQ(rig.there.take_overs, 1);
    EXPECT_EQ(rig.witness.runner(), "");
}

TEST(Migration, GoesThroughTheStatesInOrder)
{
    MigrationRig rig;
    rig.there.acts[Step::FinishLoad] = Act::Hold; // so that Ready cannot overtake Loading
    rig.start();
    ASSERT_TRUE(rig.run_to(SourceState::Loading));
    ASSERT_TRUE(rig.run_to_held(rig.there, Step::FinishLoad));
    rig.there.release(Step::FinishLoad);
    ASSERT_TRUE(rig.run_to_end());
    rig.expect_moved();
    using enum SourceState;
    EXPECT_EQ(rig.source_states, (std::vector{Connecting, Greeting, Joining, Copying, Switching,
                                              Paused, Loading, Committing, Completed}));
    EXPECT_EQ(
        rig.destination_states,
        (std::vector{DestinationState::Preparing, DestinationState::Receiving,
                     DestinationState::Holding, DestinationState::Loading, DestinationState::Ready,
                     DestinationState::TakingOver, DestinationState::Completed}));
}

TEST(Migration, DeviceStateLargerThanAFrame)
{
    MigrationRig rig;
    rig.here.early_state.resize((3U << 20) + 17, std::byte{1});
    rig.here.late_state.resize((5U << 20) + 5, std::byte{2});
    rig.start();
    ASSERT_TRUE(rig.run_to_end());
    rig.expect_moved();
}

TEST(Migration, PauseBeforeSwitchoverWaitsForTheUser)
{
    MigrationRig rig({.pause_before_switchover = true});
    rig.start();
    EXPECT_FALSE(rig.source->continue_switchover()) << "not yet";
    ASSERT_TRUE(rig.run_to(SourceState::Paused));
    ASSERT_TRUE(run_until([&] { return rig.source->awaits_continue(); }));
    // A round goes over meanwhile, but nothing is loaded and nothing committed.
    ASSERT_TRUE(run_until([&] { return rig.door->session()->report().rounds >= 2; }));
    EXPECT_EQ(rig.source->state(), SourceState::Paused);
    EXPECT_EQ(rig.there.finish_loads, 0);
    EXPECT_EQ(rig.witness.runner(), "");
    EXPECT_TRUE(rig.source->continue_switchover());
    EXPECT_FALSE(rig.source->continue_switchover()) << "once is enough";
    ASSERT_TRUE(rig.run_to_end());
    rig.expect_moved();
    EXPECT_TRUE(same_ram(rig.here.fake_ram, rig.there.fake_ram));
}

/// A reset, the end of a block job: what they write while migrate-continue is awaited goes, too.
TEST(Migration, WhatIsWrittenWhileTheUserIsAwaitedIsSent)
{
    MigrationRig rig({.pause_before_switchover = true});
    rig.start();
    ASSERT_TRUE(run_until([&] { return rig.source->awaits_continue(); }));
    ASSERT_TRUE(run_until([&] { return rig.door->session()->report().rounds >= 2; }));
    rig.here.fake_ram.write_paused(0, 5, 77);
    EXPECT_TRUE(rig.source->continue_switchover());
    ASSERT_TRUE(rig.run_to_end());
    rig.expect_moved();
    EXPECT_TRUE(same_ram(rig.here.fake_ram, rig.there.fake_ram));
    EXPECT_EQ(rig.source->report().rounds.back().pages_sent, 1U) << "the rest went before";
}

TEST(Migration, DeviceStateComesNoFasterThanItIsTaken)
{
    MigrationRig rig;
    rig.there.load_is_slow = true;
    rig.start();
    ASSERT_TRUE(run_until([&] { return rig.there.load_caught_up != nullptr; }));
    run_ready();
    EXPECT_EQ(rig.there.finish_loads, 0) << "nothing is read meanwhile";
    rig.there.load_is_slow = false;
    std::exchange(rig.there.load_caught_up, nullptr)();
    ASSERT_TRUE(rig.run_to_end());
    rig.expect_moved();
}

TEST(Migration, NoGuestStandsStillForWhatTheDestinationPrepares)
{
    MigrationRig rig;
    rig.there.prepares_to_load = true;
    rig.start();
    ASSERT_TRUE(run_until(
        [&] { return rig.door->session() && rig.door->session()->report().rounds == 1; }));
    run_ready();
    EXPECT_EQ(rig.source->state(), SourceState::Copying) << "its first round is not acknowledged";
    EXPECT_EQ(rig.here.begin_saves, 0);
    std::exchange(rig.there.load_prepared, nullptr)();
    ASSERT_TRUE(rig.run_to_end());
    rig.expect_moved();
}

/// Else a guest that cannot be moved faster is paused, and comes back, again and again.
TEST(SwitchoverLimit, IsLongerThanThePauseThatWasDecidedOn)
{
    EXPECT_EQ(switchover_limit_s(0.05, 0.03), 10);
    EXPECT_GT(switchover_limit_s(30, 27), 2 * 30);
    EXPECT_GT(switchover_limit_s(0.3, 16), 2 * 16);
}

TEST(Migration, GivenUpBeforeSwitchoverTheGuestRunsOn)
{
    MigrationRig rig({.pause_before_switchover = true});
    rig.start();
    ASSERT_TRUE(run_until([&] { return rig.source->awaits_continue(); }));
    rig.cancel();
    ASSERT_TRUE(rig.run_to_end());
    rig.expect_stayed();
    EXPECT_FALSE(rig.source->continue_switchover());
}

TEST(Migration, AWriteRateThatNoPolicyCanStopIsSentRoundByRound)
{
    MigrationRig rig({.rounds = 20});
    FakeRam& ram = rig.here.fake_ram;
    ram.before_collect_all = [&](unsigned count) {
        for (uint64_t page = 0; page < 96; ++page)
            ram.write(0, page, (uint64_t{count} << 16) + page);
    };
    rig.start();
    ASSERT_TRUE(rig.run_to_end());
    rig.expect_moved();
    for (size_t i = 1; i < 20; ++i)
        EXPECT_EQ(rig.source->report().rounds[i].pages_sent, 96U);
}

} // namespace
} // namespace drover::testing
