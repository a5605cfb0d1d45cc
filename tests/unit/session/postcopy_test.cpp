// SPDX-License-Identifier: GPL-2.0-or-later
#include "../stream/run_loop.h"
#include "broken_link.h"

#include <algorithm>
#include <gtest/gtest.h>

namespace drover::testing {
namespace {

using stream::FrameType;
using Verdict = Relay::Verdict;

constexpr uint64_t pages = 1300;

RigOptions by_postcopy()
{
    return {.blocks = {{"ram", pages}}, .relay = true, .postcopy = true};
}

/// The guest writes so many pages just before it is paused.
void write_late(MigrationRig& rig, uint64_t count)
{
    rig.here.fake_ram.before_collect_all = [&rig, count](unsigned) {
        for (uint64_t page = 0; page < count; ++page)
            rig.here.fake_ram.write(0, page * 3 % pages, 5000 + page);
    };
}

bool was(const std::vector<SourceState>& states, SourceState state)
{
    return std::ranges::find(states, state) != states.end();
}

TEST(Postcopy, MovesTheGuestBeforeItsRam)
{
    MigrationRig rig(by_postcopy());
    write_late(rig, 300);
    bool ran_with_holes = false;
    rig.on_destination = [&](DestinationState state) {
        if (state == DestinationState::Postcopy)
            ran_with_holes = rig.there.runs() && rig.there.hold.holding();
    };
    rig.start();
    ASSERT_TRUE(rig.run_to_end());
    rig.expect_moved();
    EXPECT_TRUE(ran_with_holes);
    EXPECT_TRUE(was(rig.source_states, SourceState::Postcopy));
    EXPECT_EQ(rig.there.hold.absent()[0].count(), 300U)
        << "what was written late, and nothing else";
    EXPECT_TRUE(same_ram(rig.here.fake_ram, rig.there.fake_ram));
    EXPECT_FALSE(rig.there.hold.holding());
    EXPECT_EQ(rig.there.stills, 0);
}

TEST(Postcopy, WithNothingLeftIsAPlainMigration)
{
    MigrationRig rig(by_postcopy());
    rig.start();
    ASSERT_TRUE(rig.run_to_end());
    rig.expect_moved();
    EXPECT_FALSE(rig.source->report().postcopy);
    EXPECT_FALSE(was(rig.source_states, SourceState::Postcopy));
}

/// While the devices load, with the guest still the source's, pages are served already.
TEST(Postcopy, ServesWhatTheDevicesTouchWhileTheyLoad)
{
    MigrationRig rig(by_postcopy());
    write_late(rig, 300);
    rig.there.acts[FakeMachine::FinishLoad] = FakeMachine::Act::Hold;
    rig.start();
    ASSERT_TRUE(rig.run_to_held(rig.there, FakeMachine::FinishLoad));
    rig.there.hold.touch(0, 3);
    EXPECT_TRUE(rig.there.hold.waits(0, 3));
    ASSERT_TRUE(run_until([&] { return !rig.there.hold.waits(0, 3); }));
    EXPECT_EQ(rig.door->session()->state(), DestinationState::Loading);
    EXPECT_GT(rig.door->session()->fetcher()->missing_count(), 200U) << "nothing is pushed yet";
    rig.there.release(FakeMachine::FinishLoad);
    ASSERT_TRUE(rig.run_to_end());
    rig.expect_moved();
    EXPECT_TRUE(same_ram(rig.here.fake_ram, rig.there.fake_ram));
}

/// A page that is right lets its neighbours go with it, and none that is missing.
TEST(Postcopy, LetsGoWhatIsRightAtOnce)
{
    MigrationRig rig(by_postcopy());
    write_late(rig, 10);
    rig.there.acts[FakeMachine::FinishLoad] = FakeMachine::Act::Hold;
    rig.start();
    ASSERT_TRUE(rig.run_to_held(rig.there, FakeMachine::FinishLoad));
    rig.there.hold.touch(0, 1);
    EXPECT_FALSE(rig.there.hold.waits(0, 1));
    EXPECT_EQ(rig.door->session()->fetcher()->counters().requests, 0U);
    rig.there.hold.touch(0, 6);
    EXPECT_TRUE(rig.there.hold.waits(0, 6));
    EXPECT_EQ(rig.door->session()->fetcher()->counters().requests, 1U);
    rig.there.release(FakeMachine::FinishLoad);
    ASSERT_TRUE(rig.run_to_end());
}

class PostcopyBreak : public ::testing::TestWithParam<std::pair<FrameType, Verdict>> {};

INSTANTIATE_TEST_SUITE_P(At, PostcopyBreak,
                         ::testing::Values(std::pair(FrameType::Commit, Verdict::CutBefore),
                                           std::pair(FrameType::Commit, Verdict::CutAfter),
                                           std::pair(FrameType::Running, Verdict::CutBefore),
                                           std::pair(FrameType::Pages, Verdict::CutBefore),
                                           std::pair(FrameType::Pages, Verdict::CutAfter),
                                           std::pair(FrameType::PagesPlaced, Verdict::CutBefore),
                                           std::pair(FrameType::AllHere, Verdict::CutBefore),
                                           std::pair(FrameType::AllHere, Verdict::CutAfter)),
                         [](const auto& test) {
                             return std::string(stream::frame_name(test.param.first)) +
                                    (test.param.second == Verdict::CutBefore ? "Lost" : "Arrived");
                         });

TEST_P(PostcopyBreak, LosesNothing)
{
    MigrationRig rig(by_postcopy());
    write_late(rig, 300);
    judge_first(rig, GetParam().first, GetParam().second);
    rig.start();
    ASSERT_TRUE(rig.run_to_end());
    rig.expect_moved();
    EXPECT_TRUE(same_ram(rig.here.fake_ram, rig.there.fake_ram));
    EXPECT_EQ(rig.there.stills, rig.there.goes_on == 0 ? 0 : rig.there.stills);
}

TEST_P(PostcopyBreak, OfTheResumedLinkLosesNothing)
{
    for (const FrameType second : {FrameType::Resume, FrameType::Missing, FrameType::MissingEnd,
                                   FrameType::Outcome, FrameType::Ask}) {
        MigrationRig rig(by_postcopy());
        write_late(rig, 300);
        bool first_fell = false, second_fell = false;
        rig.relay->judge = [&](const Relay::Passing& passing) {
            if (!first_fell && passing.type == GetParam().first) {
                first_fell = true;
                return GetParam().second;
            }
            if (first_fell && !second_fell && passing.type == second) {
                second_fell = true;
                return Verdict::CutBefore;
            }
            return Verdict::Pass;
        };
        rig.start();
        ASSERT_TRUE(rig.run_to_end()) << stream::frame_name(second);
        rig.expect_moved();
        EXPECT_TRUE(same_ram(rig.here.fake_ram, rig.there.fake_ram));
    }
}

// A hypervisor that starts the guest may touch its memory first, and does not end before it has it.

class PostcopyTakeOver : public ::testing::TestWithParam<std::pair<FrameType, Verdict>> {
protected:
    PostcopyTakeOver() : rig(by_postcopy())
    {
        write_late(rig, 300);
        rig.there.acts[FakeMachine::TakeOver] = FakeMachine::Act::Hold;
    }
    /// The link breaks at the commit, and the guest is being started.
    void begin()
    {
        rig.start();
        ASSERT_TRUE(rig.run_to_held(rig.there, FakeMachine::TakeOver));
        ASSERT_TRUE(rig.run_to(SourceState::Asking));
    }
    /// One that is missing.
    [[nodiscard]] uint64_t touch()
    {
        const uint64_t page = rig.door->session()->fetcher()->missing()[0].next_set(0, pages);
        rig.there.hold.touch(0, page);
        return page;
    }
    bool run_to_there(uint64_t page)
    {
        return run_until([&] { return !rig.there.hold.waits(0, page); });
    }
    MigrationRig rig;
};

INSTANTIATE_TEST_SUITE_P(After, PostcopyTakeOver,
                         ::testing::Values(std::pair(FrameType::Commit, Verdict::CutBefore),
                                           std::pair(FrameType::Commit, Verdict::CutAfter)),
                         [](const auto& test) {
                             return test.param.second == Verdict::CutBefore
                                        ? std::string("ACommitOnAnAskConnection")
                                        : std::string("ABreak");
                         });

TEST_P(PostcopyTakeOver, HasWhatItTouches)
{
    judge_first(rig, GetParam().first, GetParam().second);
    ASSERT_NO_FATAL_FAILURE(begin());
    for (int i = 0; i < 3; ++i)
        ASSERT_TRUE(run_to_there(touch()));
    EXPECT_EQ(rig.source->state(), SourceState::Asking) << "it may still fail";
    rig.there.release(FakeMachine::TakeOver);
    ASSERT_TRUE(rig.run_to_end());
    rig.expect_moved();
    EXPECT_TRUE(same_ram(rig.here.fake_ram, rig.there.fake_ram));
}

TEST_P(PostcopyTakeOver, ThatFailsGivesTheGuestBack)
{
    judge_first(rig, GetParam().first, GetParam().second);
    ASSERT_NO_FATAL_FAILURE(begin());
    ASSERT_TRUE(run_to_there(touch()));
    rig.there.release(FakeMachine::TakeOver, false);
    ASSERT_TRUE(rig.run_to_end());
    rig.expect_stayed();
}

TEST_P(PostcopyTakeOver, HasItThoughTheAskConnectionBreaksToo)
{
    int breaks = 0;
    rig.relay->judge = [&](const Relay::Passing& passing) {
        constexpr FrameType lost[] = {FrameType::PageRequest, FrameType::Pages};
        const bool breaks_now = breaks == 0 ? passing.type == GetParam().first
                                            : breaks <= 2 && passing.type == lost[breaks - 1];
        if (!breaks_now)
            return Verdict::Pass;
        return breaks++ == 0 ? GetParam().second : Verdict::CutBefore;
    };
    ASSERT_NO_FATAL_FAILURE(begin());
    ASSERT_TRUE(run_to_there(touch()));
    EXPECT_EQ(breaks, 3);
    rig.there.release(FakeMachine::TakeOver);
    ASSERT_TRUE(rig.run_to_end());
    rig.expect_moved();
    EXPECT_TRUE(same_ram(rig.here.fake_ram, rig.there.fake_ram));
}

/// While nobody can be reached the guest stands still, and what it touched is asked for anew.
TEST(Postcopy, StandsStillUntilTheLinkIsBack)
{
    MigrationRig rig(by_postcopy());
    write_late(rig, 1200);
    rig.there.acts[FakeMachine::FinishLoad] = FakeMachine::Act::Hold;
    rig.on_destination = [&](DestinationState state) {
        if (state == DestinationState::Postcopy && rig.there.stills == 0) {
            rig.relay->refuses = true;
            rig.relay->cut();
        }
    };
    rig.start();
    ASSERT_TRUE(rig.run_to_held(rig.there, FakeMachine::FinishLoad));
    rig.there.release(FakeMachine::FinishLoad);
    ASSERT_TRUE(rig.run_to(SourceState::PostcopyPaused) || rig.run_to(SourceState::Asking));
    ASSERT_TRUE(rig.run_to(DestinationState::PostcopyPaused));
    EXPECT_EQ(rig.there.stills, 1);
    EXPECT_EQ(rig.there.goes_on, 0);
    const uint64_t page = rig.door->session()->fetcher()->missing()[0].next_set(0, pages);
    rig.there.hold.touch(0, page);
    EXPECT_TRUE(rig.there.hold.waits(0, page));
    ASSERT_TRUE(run_until([&] { return rig.relay->refused >= 2; }));
    EXPECT_FALSE(rig.source->give_up({ErrorKind::Cancelled, "impatience", ""}));
    EXPECT_TRUE(rig.there.hold.waits(0, page));
    rig.relay->refuses = false;
    ASSERT_TRUE(rig.run_to_end());
    rig.expect_moved();
    EXPECT_EQ(rig.there.goes_on, 1);
    EXPECT_FALSE(rig.there.hold.waits(0, page));
    EXPECT_TRUE(same_ram(rig.here.fake_ram, rig.there.fake_ram));
}

/// Before the commit a break gives the guest back, post-copy or not.
TEST(Postcopy, ABreakBeforeTheCommitLeavesTheGuest)
{
    for (const FrameType type : {FrameType::DeviceEnd, FrameType::Ready}) {
        MigrationRig rig(by_postcopy());
        write_late(rig, 300);
        judge_first(rig, type, Verdict::CutBefore);
        rig.start();
        ASSERT_TRUE(rig.run_to_end());
        rig.expect_stayed();
    }
}

/// The wish is kept though the guest wrote more at the last moment than the decision knew of.
TEST(Postcopy, TakesWhatTheLastRoundHasNoTimeFor)
{
    RigOptions options = by_postcopy();
    options.max_bandwidth = 2'000'000;
    options.on_stall = {StallAction::Postcopy};
    MigrationRig rig(options);
    rig.policy.postcopy = false; // it decides to switch over
    rig.on_source = [&](SourceState state) {
        for (uint64_t page = 0; state == SourceState::Switching && page < pages; ++page)
            rig.here.fake_ram.write(0, page, 9000 + page);
    };
    rig.start();
    ASSERT_TRUE(rig.run_to_end());
    rig.expect_moved();
    EXPECT_TRUE(rig.source->report().postcopy);
    EXPECT_TRUE(same_ram(rig.here.fake_ram, rig.there.fake_ram));
    // 0.3 s of 2 MB/s, less what the hand-over needs, are 110 pages or so.
    const RoundStats& last = rig.source->report().rounds.back();
    EXPECT_GT(last.pages_sent, 20U);
    EXPECT_LT(last.pages_sent, 600U);
}

/// What was told is served, whatever the policy permits when the last round has ended.
TEST(Postcopy, IsDecidedOnceWhenTheLastRoundBegins)
{
    RigOptions options = by_postcopy();
    options.on_stall = {StallAction::Postcopy};
    MigrationRig rig(options);
    rig.policy.postcopy = false;
    write_late(rig, 300);
    rig.on_source = [&](SourceState state) {
        const bool permitted = state == SourceState::Copying;
        if (permitted || state == SourceState::Paused)
            loop::post([&rig, permitted] {
                rig.source->set_wish(
                    {.downtime_s = 0.001,
                     .on_stall = {permitted ? StallAction::Postcopy : StallAction::Wait}});
            });
    };
    rig.start();
    ASSERT_TRUE(rig.run_to_end());
    rig.expect_moved();
    EXPECT_TRUE(rig.source->report().postcopy);
    EXPECT_TRUE(same_ram(rig.here.fake_ram, rig.there.fake_ram));
}

/// The destination may notice the break before it has counted the pages that came just before it.
TEST(Postcopy, EndsThoughTheLinkBreaksWithTheLastPage)
{
    MigrationRig rig(by_postcopy());
    write_late(rig, 3);
    judge_first(rig, FrameType::Pages, Verdict::CutAfter);
    rig.start();
    ASSERT_TRUE(rig.run_to_end());
    rig.expect_moved();
    EXPECT_EQ(rig.there.stills, rig.there.goes_on) << "it does not stand still for ever";
    EXPECT_TRUE(same_ram(rig.here.fake_ram, rig.there.fake_ram));
}

TEST(Postcopy, IsNotHadWhereTheDestinationHasNone)
{
    RigOptions options = by_postcopy();
    options.on_stall = {StallAction::Postcopy};
    MigrationRig rig(options);
    rig.there.has_postcopy = false;
    rig.policy.postcopy = false;
    rig.start();
    ASSERT_TRUE(rig.run_to(SourceState::Copying));
    const Status started = rig.source->start_postcopy();
    ASSERT_FALSE(started);
    EXPECT_NE(started.error().message.find("the fake has no post-copy"), std::string::npos);
    ASSERT_TRUE(rig.run_to_end());
    rig.expect_moved();
    EXPECT_FALSE(rig.source->report().postcopy);
}

TEST(Postcopy, AGuestThatDiesThereIsNotRunHere)
{
    MigrationRig rig(by_postcopy());
    write_late(rig, 1200);
    rig.on_destination = [&](DestinationState state) {
        if (state == DestinationState::Postcopy)
            loop::post([&] {
                rig.there.kill();
                rig.door->session()->machine_died({ErrorKind::Machine, "QEMU is gone", ""});
            });
    };
    rig.start();
    ASSERT_TRUE(rig.run_to_end());
    EXPECT_EQ(rig.source->state(), SourceState::Completed);
    EXPECT_EQ(rig.witness.runner(), "") << "what is here is out of date";
    EXPECT_EQ(rig.here.abandons, 0);
}

} // namespace
} // namespace drover::testing
