// SPDX-License-Identifier: GPL-2.0-or-later
#include "../stream/run_loop.h"
#include "migration_rig.h"

#include <gtest/gtest.h>

namespace drover::testing {
namespace {

using Step = FakeMachine::Step;
using Act = FakeMachine::Act;
using stream::FrameType;
using Verdict = Relay::Verdict;

RigOptions relayed()
{
    return {.relay = true};
}

/// Lets the verdict fall on the first such frame, and lets all else pass.
void judge_first(MigrationRig& rig, FrameType type, Verdict verdict)
{
    rig.relay->judge = [&rig, type, verdict,
                        fallen = false](const Relay::Passing& passing) mutable {
        if (fallen || passing.type != type)
            return Verdict::Pass;
        fallen = true;
        return verdict;
    };
}

TEST(Relay, PassesAMigrationOn)
{
    MigrationRig rig({.blocks = {{"ram", 1200}}, .relay = true});
    rig.start();
    ASSERT_TRUE(rig.run_to_end());
    rig.expect_moved();
    EXPECT_TRUE(same_ram(rig.here.fake_ram, rig.there.fake_ram));
}

// A link that breaks at each frame of the control connection, just before and just after it.

struct Break {
    FrameType frame;
    bool after;
    bool moved; ///< where the guest must be in the end
};

class LinkBreaks : public ::testing::TestWithParam<Break> {};

INSTANTIATE_TEST_SUITE_P(
    At, LinkBreaks,
    ::testing::Values(
        Break{FrameType::Hello, false, false}, Break{FrameType::Hello, true, false},
        Break{FrameType::Welcome, false, false}, Break{FrameType::Welcome, true, false},
        Break{FrameType::RoundAck, false, false}, Break{FrameType::RoundAck, true, false},
        Break{FrameType::DeviceHeader, false, false}, Break{FrameType::DeviceHeader, true, false},
        Break{FrameType::DeviceData, false, false}, Break{FrameType::DeviceData, true, false},
        Break{FrameType::DeviceEnd, false, false}, Break{FrameType::DeviceEnd, true, false},
        Break{FrameType::Ready, false, false}, Break{FrameType::Ready, true, true},
        Break{FrameType::Commit, false, true}, Break{FrameType::Commit, true, true},
        Break{FrameType::Running, false, true}, Break{FrameType::Running, true, true}),
    [](const auto& test) {
        return std::string(test.param.after ? "After" : "Before") +
               stream::frame_name(test.param.frame);
    });

TEST_P(LinkBreaks, AndExactlyOneSideRuns)
{
    MigrationRig rig(relayed());
    judge_first(rig, GetParam().frame, GetParam().after ? Verdict::CutAfter : Verdict::CutBefore);
    rig.start();
    ASSERT_TRUE(rig.run_to_end());
    if (GetParam().moved)
        return rig.expect_moved();
    rig.expect_stayed();
    EXPECT_EQ(rig.there.take_overs, 0);
    EXPECT_EQ(rig.source_error()->kind, ErrorKind::Connection) << rig.source_error()->text();
    EXPECT_EQ(rig.source_error()->message.find("nothing was heard"), std::string::npos)
        << "it learned of a closed link by its silence only";
}

TEST(LinkBreaksAfterReadyWasSent, TheDestinationWaitsAndIsToldThatTheGuestIsNotIts)
{
    MigrationRig rig(relayed());
    judge_first(rig, FrameType::Ready, Verdict::CutBefore);
    rig.start();
    ASSERT_TRUE(rig.run_to_end());
    rig.expect_stayed();
    ASSERT_TRUE(run_until([&] { return !rig.door->session()->link_is_up(); }));
    EXPECT_EQ(rig.destination_state(), DestinationState::Ready) << "it cannot know, and waits";
    EXPECT_TRUE(rig.door->session()->report().error);
    const Status resolved = rig.door->session()->resolve(false);
    EXPECT_TRUE(resolved);
    run_ready();
    EXPECT_EQ(rig.destination_state(), DestinationState::Failed);
    EXPECT_EQ(rig.there.take_overs, 0);
    EXPECT_FALSE(rig.door->session()->resolve(true)) << "too late";
    EXPECT_EQ(rig.witness.runner(), "the source");
}

TEST(LinkBreaksBeforeReady, TheDestinationGivesUp)
{
    MigrationRig rig(relayed());
    rig.there.acts[Step::FinishLoad] = Act::Hold;
    rig.start();
    ASSERT_TRUE(rig.run_to_held(rig.there, Step::FinishLoad));
    rig.relay->cut();
    ASSERT_TRUE(rig.run_to_end());
    rig.expect_stayed();
    ASSERT_TRUE(rig.run_to(DestinationState::Failed));
    rig.there.release(Step::FinishLoad); // what was under way comes too late
    run_ready();
    EXPECT_EQ(rig.destination_state(), DestinationState::Failed);
    EXPECT_EQ(rig.there.take_overs, 0);
}

TEST(LinkBreaksWhileCopying, TheGuestNeverStoodStill)
{
    MigrationRig rig(relayed());
    rig.policy.rounds = 1'000'000;
    rig.start();
    ASSERT_TRUE(run_until([&] { return rig.source->report().rounds.size() >= 2; }));
    rig.relay->cut();
    ASSERT_TRUE(rig.run_to_end());
    rig.expect_stayed();
    EXPECT_EQ(rig.here.begin_saves, 0);
    ASSERT_TRUE(rig.run_to(DestinationState::Failed));
}

// A link that is silent instead of broken. Only the blackout's limit is short enough to wait for.

TEST(LinkStalls, InTheBlackoutTheSourceCarriesOnWithinAboutASecond)
{
    MigrationRig rig(relayed());
    judge_first(rig, FrameType::DeviceEnd, Verdict::Stall);
    rig.start();
    ASSERT_TRUE(rig.run_to_end());
    rig.expect_stayed();
    const SourceReport& report = rig.source->report();
    EXPECT_GT(report.total_s - report.paused_s, 0.7);
    EXPECT_LT(report.total_s - report.paused_s, 5.0); // about 0.9 on an idle host
    EXPECT_NE(report.error->message.find("nothing was heard"), std::string::npos);

    rig.relay->resume(); // what was on the way arrives after all, and changes nothing
    ASSERT_TRUE(rig.run_to(DestinationState::Failed));
    EXPECT_EQ(rig.there.take_overs, 0);
}

TEST(LinkStalls, WithTheCommitOnItTheSourceAsksAndItIsCarriedOutOnce)
{
    MigrationRig rig(relayed());
    judge_first(rig, FrameType::Commit, Verdict::Stall);
    rig.start();
    ASSERT_TRUE(rig.run_to(SourceState::Asking));
    EXPECT_EQ(rig.witness.runner(), "");
    ASSERT_TRUE(rig.run_to_end());
    rig.expect_moved();
    rig.relay->resume(); // the first Commit arrives at last
    run_ready();
    rig.expect_moved();
}

TEST(LinkStalls, BeforeRunningTheSourceAsksAndLearnsIt)
{
    MigrationRig rig(relayed());
    judge_first(rig, FrameType::Running, Verdict::Stall);
    rig.start();
    ASSERT_TRUE(rig.run_to(SourceState::Asking));
    ASSERT_TRUE(rig.run_to_end());
    rig.expect_moved();
}

// The switchover itself.

TEST(Asking, GoesOnUntilTheDestinationCanBeReached)
{
    MigrationRig rig(relayed());
    judge_first(rig, FrameType::Commit, Verdict::CutBefore);
    rig.on_source = [&](SourceState state) {
        if (state == SourceState::Asking)
            rig.relay->refuses = true;
    };
    rig.start();
    ASSERT_TRUE(rig.run_to(SourceState::Asking));
    EXPECT_FALSE(rig.source->give_up({ErrorKind::Cancelled, "impatience", ""}));
    ASSERT_TRUE(run_until([&] { return rig.relay->refused == 2; }));
    EXPECT_EQ(rig.source->state(), SourceState::Asking);
    EXPECT_EQ(rig.witness.runner(), "") << "nobody may run it while nobody knows";
    rig.relay->refuses = false;
    ASSERT_TRUE(rig.run_to_end());
    rig.expect_moved();
}

TEST(Asking, ABreakOfTheAskConnectionIsNoAnswer)
{
    MigrationRig rig(relayed());
    int commits = 0, outcomes = 0, runnings = 0;
    rig.relay->judge = [&](const Relay::Passing& passing) {
        if (passing.type == FrameType::Commit)
            return ++commits <= 2 ? Verdict::CutBefore : Verdict::Pass;
        if (passing.type == FrameType::Outcome)
            return ++outcomes == 1 ? Verdict::CutBefore : Verdict::Pass;
        if (passing.type == FrameType::Running)
            return ++runnings == 1 ? Verdict::CutBefore : Verdict::Pass;
        return Verdict::Pass;
    };
    rig.start();
    ASSERT_TRUE(rig.run_to_end());
    rig.expect_moved();
    EXPECT_EQ(commits, 3);
    EXPECT_GE(outcomes, 4);
}

TEST(Asking, ADestinationThatFailsToStartGivesTheGuestBack)
{
    MigrationRig rig(relayed());
    rig.there.acts[Step::TakeOver] = Act::Fail;
    judge_first(rig, FrameType::Commit, Verdict::CutBefore);
    rig.start();
    ASSERT_TRUE(rig.run_to_end());
    rig.expect_stayed();
    EXPECT_EQ(rig.there.take_overs, 1);
    EXPECT_EQ(rig.destination_state(), DestinationState::Failed);
}

TEST(Asking, WhileTheDestinationIsStillStartingWaitsForHowThatEnds)
{
    for (const bool succeeds : {true, false}) {
        MigrationRig rig(relayed());
        rig.there.acts[Step::TakeOver] = Act::Hold;
        judge_first(rig, FrameType::Commit, Verdict::CutAfter);
        bool asks = false;
        rig.on_source = [&](SourceState state) {
            if (state == SourceState::Asking)
                rig.relay->judge = [&](const Relay::Passing& passing) {
                    asks = asks || passing.type == FrameType::Ask;
                    return Verdict::Pass;
                };
        };
        rig.start();
        ASSERT_TRUE(rig.run_to_held(rig.there, Step::TakeOver));
        ASSERT_TRUE(run_until([&] { return asks; }));
        run_ready();
        EXPECT_EQ(rig.source->state(), SourceState::Asking) << "it may still fail";
        rig.there.release(Step::TakeOver, succeeds);
        ASSERT_TRUE(rig.run_to_end());
        if (succeeds) {
            rig.expect_moved();
        } else {
            rig.expect_stayed();
            EXPECT_EQ(rig.destination_state(), DestinationState::Failed);
        }
    }
}

TEST(Asking, AnotherDestinationThatKnowsNothingIsNoAnswer)
{
    MigrationRig rig(relayed());
    judge_first(rig, FrameType::Commit, Verdict::CutBefore);
    bool outcome = false;
    rig.on_source = [&](SourceState state) {
        if (state != SourceState::Asking)
            return;
        loop::post([&] {
            rig.door.reset(); // the process dies, and another comes in its place
            rig.open_door();
            rig.relay->judge = [&](const Relay::Passing& passing) {
                outcome = outcome || passing.type == FrameType::Outcome;
                return Verdict::Pass;
            };
        });
    };
    rig.start();
    ASSERT_TRUE(run_until([&] { return outcome; }));
    run_ready();
    EXPECT_EQ(rig.source->state(), SourceState::Asking);
    EXPECT_EQ(rig.witness.runner(), "") << "the dead one may have run it";
    EXPECT_TRUE(rig.source->resolve(true));
    ASSERT_TRUE(rig.run_to_end());
    rig.expect_stayed();
}

// The operator's word.

TEST(Resolve, IsRefusedWhereThereIsNothingToResolve)
{
    MigrationRig rig;
    rig.there.acts[Step::FinishLoad] = Act::Hold;
    rig.start();
    ASSERT_TRUE(rig.run_to(SourceState::Loading));
    ASSERT_TRUE(rig.run_to_held(rig.there, Step::FinishLoad));
    EXPECT_FALSE(rig.source->resolve(true));
    EXPECT_FALSE(rig.door->session()->resolve(true));
    rig.there.release(Step::FinishLoad);
    ASSERT_TRUE(rig.run_to_end());
    rig.expect_moved();
    EXPECT_FALSE(rig.source->resolve(true));
    EXPECT_FALSE(rig.door->session()->resolve(false));
}

/// Up to the point where the Commit was lost and neither side can reach the other.
void lose_the_commit(MigrationRig& rig)
{
    judge_first(rig, FrameType::Commit, Verdict::CutBefore);
    rig.on_source = [&](SourceState state) {
        if (state == SourceState::Asking)
            rig.relay->refuses = true;
    };
    rig.start();
    ASSERT_TRUE(rig.run_to(SourceState::Asking));
    ASSERT_TRUE(run_until([&] { return !rig.door->session()->link_is_up(); }));
    EXPECT_EQ(rig.destination_state(), DestinationState::Ready);
}

TEST(Resolve, TheGuestIsTheDestinations)
{
    MigrationRig rig(relayed());
    ASSERT_NO_FATAL_FAILURE(lose_the_commit(rig));
    EXPECT_TRUE(rig.source->resolve(false));
    EXPECT_TRUE(rig.door->session()->resolve(true));
    ASSERT_TRUE(rig.run_to(DestinationState::Completed));
    EXPECT_EQ(rig.source->state(), SourceState::Completed);
    EXPECT_EQ(rig.witness.runner(), "the destination");
    EXPECT_EQ(rig.here.abandons, 0);
}

TEST(Resolve, TheGuestIsTheSources)
{
    MigrationRig rig(relayed());
    ASSERT_NO_FATAL_FAILURE(lose_the_commit(rig));
    EXPECT_TRUE(rig.door->session()->resolve(false));
    EXPECT_TRUE(rig.source->resolve(true));
    ASSERT_TRUE(rig.run_to_end());
    rig.expect_stayed();
    EXPECT_EQ(rig.there.take_overs, 0);
}

TEST(Resolve, AtTheDestinationOnlyAndTheSourceLearnsItByAsking)
{
    for (const bool guest_is_there : {true, false}) {
        MigrationRig rig(relayed());
        ASSERT_NO_FATAL_FAILURE(lose_the_commit(rig));
        EXPECT_TRUE(rig.door->session()->resolve(guest_is_there));
        rig.relay->refuses = false;
        ASSERT_TRUE(rig.run_to_end());
        if (guest_is_there)
            rig.expect_moved();
        else
            rig.expect_stayed();
    }
}

// Processes that die.

TEST(DestinationDies, BeforeTheCommitTheSourceCarriesOn)
{
    for (const SourceState at : {SourceState::Joining, SourceState::Copying, SourceState::Switching,
                                 SourceState::Paused, SourceState::Loading}) {
        MigrationRig rig;
        rig.there.acts[Step::FinishLoad] = Act::Hold;
        rig.on_source = [&](SourceState state) {
            if (state == at)
                loop::post([&] {
                    rig.door.reset();
                    rig.there.kill();
                });
        };
        rig.start();
        ASSERT_TRUE(rig.run_to_end()) << to_string(at);
        rig.expect_stayed();
    }
}

TEST(SourceDies, BeforeTheCommitTheDestinationGivesUp)
{
    for (const SourceState at : {SourceState::Copying, SourceState::Switching, SourceState::Paused,
                                 SourceState::Loading}) {
        MigrationRig rig(relayed());
        rig.there.acts[Step::FinishLoad] = Act::Hold;
        rig.here.acts[Step::Abandon] = Act::Hold; // a dead QEMU does not answer
        bool dead = false;
        rig.on_source = [&](SourceState state) {
            if (state == at)
                loop::post([&] {
                    dead = true;
                    rig.here.kill();
                    rig.relay->cut();
                });
        };
        rig.start();
        ASSERT_TRUE(run_until([&] { return dead; }));
        ASSERT_TRUE(rig.run_to(DestinationState::Failed)) << to_string(at);
        EXPECT_EQ(rig.witness.runner(), "");
        EXPECT_EQ(rig.there.take_overs, 0);
    }
}

} // namespace
} // namespace drover::testing
