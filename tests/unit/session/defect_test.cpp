// SPDX-License-Identifier: GPL-2.0-or-later
//
// A mistake of our own, met anywhere in a migration, ends the migration and not the guest.
#include "../stream/run_loop.h"
#include "broken_link.h"
#include "util/defect.h"

#include <algorithm>
#include <gtest/gtest.h>

namespace drover::testing {
namespace {

/// Defects are survived as the emulator survives them: by giving up what can be given up.
class DefectTest : public ::testing::TestWithParam<SourceState> {
protected:
    DefectTest()
    {
        defects::survive([this](const Error& defect) {
            (void)rig.source->give_up(defect);
            if (rig.door && rig.door->session())
                rig.door->session()->give_up(defect);
        });
    }
    ~DefectTest() override { defects::die(); }

    void expect_stayed_for_a_defect()
    {
        rig.expect_stayed();
        ASSERT_TRUE(rig.source_error());
        EXPECT_NE(rig.source_error()->message.find("a defect in Drover"), std::string::npos)
            << rig.source_error()->message;
        EXPECT_GT(defects::count(), before);
    }

    const uint64_t before = defects::count();
    MigrationRig rig;
};

INSTANTIATE_TEST_SUITE_P(In, DefectTest,
                         ::testing::Values(SourceState::Greeting, SourceState::Joining,
                                           SourceState::Copying, SourceState::Switching,
                                           SourceState::Paused, SourceState::Loading),
                         [](const auto& test) { return std::string(to_string(test.param)); });

TEST(Defects, ThatAreMetAgainAndAgainDoNotFillADisk)
{
    defects::survive([](const Error&) {});
    ::testing::internal::CaptureStderr();
    for (int i = 0; i < 2000; ++i)
        (void)defects::report("what a test wants");
    const std::string told = ::testing::internal::GetCapturedStderr();
    defects::die();
    const auto lines = std::ranges::count(told, '\n');
    EXPECT_GE(lines, 1) << told;
    EXPECT_LE(lines, 30) << told;
}

TEST_P(DefectTest, AtTheSourceTheGuestStaysAndRuns)
{
    // A destination that is Ready in the same turn of the loop has the guest: that is an end as
    // well.
    rig.there.acts[FakeMachine::FinishLoad] = FakeMachine::Act::Hold;
    rig.on_source = [&](SourceState state) { require(state != GetParam(), "what a test wants"); };
    rig.start();
    ASSERT_TRUE(rig.run_to_end());
    expect_stayed_for_a_defect();
}

TEST_F(DefectTest, AtTheDestinationTheGuestStaysAndRuns)
{
    rig.on_destination = [&](DestinationState state) {
        require(state != DestinationState::Loading, "what a test wants");
    };
    rig.start();
    ASSERT_TRUE(rig.run_to_end());
    expect_stayed_for_a_defect();
}

TEST_F(DefectTest, InASendersThreadTheGuestStaysAndRuns)
{
    rig.here.fake_ram.before_collect = [](size_t, uint64_t) {
        require(false, "what a test wants");
    };
    rig.start();
    ASSERT_TRUE(rig.run_to_end());
    expect_stayed_for_a_defect();
}

/// The source has committed, the link is gone: for all that the destination knows it holds the only
/// copy of the guest.
TEST(DefectAtReady, LeavesWhatMayBeTheOnlyCopy)
{
    MigrationRig rig(relayed());
    defects::survive([&](const Error& defect) { rig.door->session()->give_up(defect); });
    judge_first(rig, stream::FrameType::Commit, Relay::Verdict::CutBefore);
    rig.on_source = [&](SourceState state) {
        if (state == SourceState::Committing)
            rig.relay->refuses = true;
    };
    rig.start();
    ASSERT_TRUE(run_until([&] {
        return rig.door->session() && rig.destination_state() == DestinationState::Ready &&
               !rig.door->session()->link_is_up();
    }));
    defects::contain([] { require(false, "what a test wants"); });
    run_ready();
    EXPECT_EQ(rig.destination_state(), DestinationState::Ready);
    rig.relay->refuses = false;
    ASSERT_TRUE(rig.run_to_end());
    rig.expect_moved();
    defects::die();
}

/// After the commit nobody may give up: what was begun comes to its end.
TEST_F(DefectTest, AfterTheCommitTheGuestHasMoved)
{
    rig.on_source = [&](SourceState state) {
        require(state != SourceState::Completed, "what a test wants");
    };
    rig.start();
    ASSERT_TRUE(rig.run_to(SourceState::Completed));
    ASSERT_TRUE(rig.run_to_end());
    rig.expect_moved();
    EXPECT_EQ(defects::count(), before + 1);
}

TEST(Defects, EndWhereTheyWereMetAndTheLoopGoesOn)
{
    defects::survive({});
    unsigned turns = 0;
    const auto again = loop::every(std::chrono::milliseconds(1), [&] {
        ++turns;
        require(turns > 1, "what a test wants");
    });
    EXPECT_TRUE(run_until([&] { return turns > 2; }));
    EXPECT_FALSE(defects::contain([] { throw 7; }));
    const Status failed = defects::guarded([]() -> Status { throw std::bad_alloc(); });
    ASSERT_FALSE(failed);
    EXPECT_NE(failed.error().message.find("bad_alloc"), std::string::npos);
    defects::die();
}

TEST(DefectsDeathTest, AreFatalInATest)
{
    EXPECT_DEATH(defects::contain([] { require(1 > 2, "that one is more than two"); }),
                 "that one is more than two does not hold");
}

} // namespace
} // namespace drover::testing
