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
        Break{FrameType::RoundAck, false, true}, Break{FrameType::RoundAck, true, true},
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

/// Up to the point where the destination is Ready, the source does not know it and took the guest
/// back, and neither can reach the other.
void lose_ready(MigrationRig& rig)
{
    judge_first(rig, FrameType::Ready, Verdict::CutBefore);
    rig.on_source = [&](SourceState state) {
        if (state == SourceState::Unwinding)
            rig.relay->refuses = true;
    };
    rig.start();
    ASSERT_TRUE(rig.run_to_end());
    rig.expect_stayed();
    ASSERT_TRUE(run_until([&] { return !rig.door->session()->link_is_up(); }));
    EXPECT_EQ(rig.destination_state(), DestinationState::Ready) << "it cannot know, and waits";
    EXPECT_TRUE(rig.door->session()->report().error);
}

TEST(LinkBreaksAtReady, TheSourceCallsLaterToSayThatItHasTheGuest)
{
    MigrationRig rig(relayed());
    ASSERT_NO_FATAL_FAILURE(lose_ready(rig));
    ASSERT_TRUE(run_until([&] { return rig.relay->refused > 0; }));
    rig.relay->refuses = false;
    ASSERT_TRUE(rig.run_to(DestinationState::Failed));
    rig.expect_stayed();
    EXPECT_EQ(rig.there.take_overs, 0);
}

TEST(LinkBreaksAtReady, OrTheOperatorSaysIt)
{
    MigrationRig rig(relayed());
    ASSERT_NO_FATAL_FAILURE(lose_ready(rig));
    EXPECT_TRUE(rig.door->session()->resolve(false));
    run_ready();
    EXPECT_EQ(rig.destination_state(), DestinationState::Failed);
    EXPECT_FALSE(rig.door->session()->resolve(true)) << "too late";
    EXPECT_EQ(rig.there.take_overs, 0);
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
    MigrationRig rig({.relay = true, .reconnect_s = 0});
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
        MigrationRig rig({.relay = true, .reconnect_s = 0.3});
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
