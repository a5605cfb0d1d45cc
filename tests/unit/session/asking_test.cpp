// SPDX-License-Identifier: GPL-2.0-or-later
#include "../stream/run_loop.h"
#include "broken_link.h"

#include <gtest/gtest.h>

namespace drover::testing {
namespace {

using Step = FakeMachine::Step;
using Act = FakeMachine::Act;
using stream::FrameType;
using Verdict = Relay::Verdict;

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

TEST(Asking, GoesOnUntilTheDestinationCanBeReached)
{
    MigrationRig rig(relayed());
    lose_the_commit(rig);
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
    EXPECT_TRUE(rig.door->session()->owes_an_answer()) << "who asks later must be answered, too";
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

/// The operator's word stands in for the destination's, never against it.
TEST(Resolve, IsRefusedWhileTheDestinationAnswers)
{
    MigrationRig rig(relayed());
    rig.there.acts[Step::TakeOver] = Act::Hold;
    judge_first(rig, FrameType::Commit, Verdict::CutBefore);
    rig.start();
    ASSERT_TRUE(rig.run_to_held(rig.there, Step::TakeOver)); // by the Commit of the second call
    EXPECT_EQ(rig.source->state(), SourceState::Asking);
    EXPECT_FALSE(rig.source->resolve(true)) << "the guest may run there in a moment";
    rig.there.release(Step::TakeOver);
    ASSERT_TRUE(rig.run_to_end());
    rig.expect_moved();
}

TEST(Resolve, ToTheSourceIsToldToADestinationThatWaits)
{
    MigrationRig rig(relayed());
    ASSERT_NO_FATAL_FAILURE(lose_the_commit(rig));
    EXPECT_TRUE(rig.source->resolve(true));
    ASSERT_TRUE(rig.run_to_end());
    rig.expect_stayed();
    EXPECT_EQ(rig.destination_state(), DestinationState::Ready) << "it cannot know yet";
    auto teller = rig.source->take_teller();
    ASSERT_TRUE(teller);
    rig.source.reset(); // a new migration takes its place: it is told all the same
    rig.relay->refuses = false;
    ASSERT_TRUE(rig.run_to(DestinationState::Failed));
    EXPECT_EQ(rig.witness.runner(), "the source");
    EXPECT_TRUE(teller->finished());
}

/// The operator speaks in the moment in which the destination's Ready is read.
TEST(Resolve, IsNotOvertakenByAnAnswer)
{
    MigrationRig rig(relayed());
    ASSERT_NO_FATAL_FAILURE(lose_the_commit(rig));
    bool decided = false, commits_after = false;
    rig.relay->judge = [&](const Relay::Passing& passing) {
        if (passing.type == FrameType::Outcome && !decided) {
            decided = true;
            EXPECT_TRUE(rig.source->resolve(true));
        }
        commits_after = commits_after || (decided && passing.type == FrameType::Commit);
        return Verdict::Pass;
    };
    rig.relay->refuses = false;
    ASSERT_TRUE(rig.run_to_end());
    rig.expect_stayed();
    ASSERT_TRUE(rig.run_to(DestinationState::Failed));
    EXPECT_FALSE(commits_after);
    EXPECT_EQ(rig.there.take_overs, 0);
}

} // namespace
} // namespace drover::testing
