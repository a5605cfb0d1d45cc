// SPDX-License-Identifier: GPL-2.0-or-later
#include "../stream/run_loop.h"
#include "migration_rig.h"

#include <gtest/gtest.h>

namespace drover::testing {
namespace {

using Step = FakeMachine::Step;
using Act = FakeMachine::Act;

/// Holds the migration in the state until something else happens, where that can be done.
void hold_in(MigrationRig& rig, SourceState state)
{
    switch (state) {
    case SourceState::Greeting: rig.there.acts[Step::Describe] = Act::Hold; break;
    case SourceState::Copying: rig.policy.rounds = 1'000'000; break;
    case SourceState::Switching: rig.here.acts[Step::Pause] = Act::Hold; break;
    case SourceState::Paused: rig.here.acts[Step::Save] = Act::Hold; break;
    case SourceState::Loading: rig.there.acts[Step::FinishLoad] = Act::Hold; break;
    default: break; // Connecting and Joining last as long as a connection takes
    }
}

class Cancel : public ::testing::TestWithParam<SourceState> {};

INSTANTIATE_TEST_SUITE_P(In, Cancel,
                         ::testing::Values(SourceState::Connecting, SourceState::Greeting,
                                           SourceState::Joining, SourceState::Copying,
                                           SourceState::Switching, SourceState::Paused,
                                           SourceState::Loading),
                         [](const auto& test) { return std::string(to_string(test.param)); });

void expect_cancelled(MigrationRig& rig)
{
    rig.expect_stayed();
    EXPECT_EQ(rig.source_error()->kind, ErrorKind::Cancelled);
    EXPECT_EQ(rig.there.take_overs, 0);
    EXPECT_FALSE(rig.source->give_up({ErrorKind::Cancelled, "again", ""}));
}

TEST_P(Cancel, WhileTheMigrationIsHeldThere)
{
    MigrationRig rig;
    hold_in(rig, GetParam());
    rig.start();
    ASSERT_TRUE(rig.run_to(GetParam()));
    rig.cancel();
    ASSERT_TRUE(rig.run_to_end());
    expect_cancelled(rig);
    EXPECT_EQ(rig.here.begin_saves, GetParam() >= SourceState::Switching ? 1 : 0);
}

TEST_P(Cancel, FromWithinTheNoticeOfTheState)
{
    MigrationRig rig;
    rig.on_source = [&](SourceState state) {
        if (state == GetParam())
            rig.cancel();
    };
    rig.start();
    if (GetParam() == SourceState::Connecting)
        rig.cancel(); // that state has no notice
    ASSERT_TRUE(rig.run_to_end());
    expect_cancelled(rig);
}

TEST_P(Cancel, ThenTheDestinationGivesUpToo)
{
    if (GetParam() < SourceState::Joining)
        GTEST_SKIP() << "before Welcome the destination has not begun";
    MigrationRig rig;
    hold_in(rig, GetParam());
    rig.start();
    ASSERT_TRUE(rig.run_to(GetParam()));
    rig.cancel();
    ASSERT_TRUE(rig.run_to(DestinationState::Failed));
    ASSERT_TRUE(rig.run_to_end());
    EXPECT_NE(rig.door->session()->report().error->message.find("the test gave up"),
              std::string::npos);
}

TEST(CancelEarly, LeavesTheDoorOpenForTheNextSource)
{
    for (const SourceState state : {SourceState::Connecting, SourceState::Greeting}) {
        MigrationRig rig;
        hold_in(rig, state);
        rig.start();
        ASSERT_TRUE(rig.run_to(state));
        if (state == SourceState::Greeting) {
            ASSERT_TRUE(rig.run_to_held(rig.there, Step::Describe));
        }
        rig.cancel();
        ASSERT_TRUE(rig.run_to_end());
        rig.expect_stayed();
        ASSERT_TRUE(run_until([&] { return !rig.door->session(); }));
        rig.there.acts[Step::Describe] = Act::AtOnce;
        rig.start();
        ASSERT_TRUE(rig.run_to_end());
        rig.expect_moved();
    }
}

TEST(CancelLate, IsRefusedFromTheCommitOn)
{
    MigrationRig rig;
    rig.there.acts[Step::TakeOver] = Act::Hold;
    rig.on_source = [&](SourceState state) {
        if (state >= SourceState::Committing) {
            EXPECT_FALSE(rig.source->give_up({ErrorKind::Cancelled, "too late", ""}));
        }
    };
    rig.start();
    ASSERT_TRUE(rig.run_to(SourceState::Committing));
    ASSERT_TRUE(rig.run_to_held(rig.there, Step::TakeOver));
    const Status late = rig.source->give_up({ErrorKind::Cancelled, "too late", ""});
    ASSERT_FALSE(late);
    EXPECT_EQ(late.error().kind, ErrorKind::Refused);
    EXPECT_NE(late.error().message.find("already given"), std::string::npos);
    rig.there.release(Step::TakeOver);
    ASSERT_TRUE(rig.run_to_end());
    rig.expect_moved();
    EXPECT_FALSE(rig.source->give_up({ErrorKind::Cancelled, "too late", ""}));
}

TEST(CancelTwice, TheSecondIsRefusedWhileTheFirstIsAtWork)
{
    MigrationRig rig;
    rig.here.acts[Step::Save] = Act::Hold;
    rig.here.acts[Step::Abandon] = Act::Hold;
    rig.start();
    ASSERT_TRUE(rig.run_to(SourceState::Paused));
    rig.cancel();
    ASSERT_TRUE(rig.run_to_held(rig.here, Step::Abandon));
    const Status second = rig.source->give_up({ErrorKind::Cancelled, "again", ""});
    ASSERT_FALSE(second);
    EXPECT_NE(second.error().message.find("given up already"), std::string::npos);
    EXPECT_EQ(rig.source->state(), SourceState::Unwinding);
    rig.here.release(Step::Abandon);
    ASSERT_TRUE(rig.run_to_end());
    expect_cancelled(rig);
}

// What goes wrong at the source itself.

struct Breakage {
    const char* name;
    void (*prepare)(MigrationRig&);
    const char* words;
};

class SourceBreaks : public ::testing::TestWithParam<Breakage> {};

INSTANTIATE_TEST_SUITE_P(
    Each, SourceBreaks,
    ::testing::Values(
        Breakage{"Describe", [](MigrationRig& rig) { rig.here.acts[Step::Describe] = Act::Fail; },
                 "cannot describe itself"},
        Breakage{"Tracker",
                 [](MigrationRig& rig) {
                     rig.here.tracker_error = Error{ErrorKind::System, "no tracker here", ""};
                 },
                 "no tracker here"},
        Breakage{"Collect", [](MigrationRig& rig) { rig.here.fake_ram.fail_collect_all = true; },
                 "the fake tracker broke"},
        Breakage{"Pause", [](MigrationRig& rig) { rig.here.acts[Step::Pause] = Act::Fail; },
                 "cannot pause"},
        Breakage{"Save", [](MigrationRig& rig) { rig.here.acts[Step::Save] = Act::Fail; },
                 "cannot save its devices"},
        Breakage{"WhileLoading",
                 [](MigrationRig& rig) {
                     rig.there.acts[Step::FinishLoad] = Act::Hold;
                     rig.on_source = [&rig](SourceState state) {
                         if (state == SourceState::Loading)
                             rig.here.break_save();
                     };
                 },
                 "broke while it saved"}),
    [](const auto& test) { return std::string(test.param.name); });

TEST_P(SourceBreaks, AndTheGuestRunsOn)
{
    MigrationRig rig;
    GetParam().prepare(rig);
    rig.start();
    ASSERT_TRUE(rig.run_to_end());
    rig.expect_stayed();
    EXPECT_NE(rig.source_error()->message.find(GetParam().words), std::string::npos)
        << rig.source_error()->text();
    EXPECT_EQ(rig.there.take_overs, 0);
}

TEST(SourceBreaksTwice, BothErrorsAreTold)
{
    MigrationRig rig;
    rig.here.acts[Step::Save] = Act::Fail;
    rig.here.acts[Step::Abandon] = Act::Fail;
    rig.start();
    ASSERT_TRUE(rig.run_to_end());
    EXPECT_EQ(rig.source->state(), SourceState::Failed);
    EXPECT_NE(rig.source_error()->message.find("cannot save its devices"), std::string::npos);
    EXPECT_NE(rig.source_error()->message.find("cannot run its guest again"), std::string::npos);
    EXPECT_EQ(rig.witness.runner(), "");
}

// What goes wrong at the destination, and is told to the source.

class DestinationBreaks : public ::testing::TestWithParam<Breakage> {};

INSTANTIATE_TEST_SUITE_P(
    Each, DestinationBreaks,
    ::testing::Values(
        Breakage{"Prepare",
                 [](MigrationRig& rig) { rig.there.acts[Step::PrepareLoad] = Act::Fail; },
                 "cannot prepare to load"},
        Breakage{"WhileReceiving",
                 [](MigrationRig& rig) {
                     rig.policy.rounds = 1'000'000;
                     rig.on_source = [&rig](SourceState state) {
                         if (state == SourceState::Copying)
                             rig.there.break_load();
                     };
                 },
                 "broke while it loaded"},
        Breakage{"FinishLoad",
                 [](MigrationRig& rig) { rig.there.acts[Step::FinishLoad] = Act::Fail; },
                 "cannot load its devices"},
        Breakage{"TakeOver", [](MigrationRig& rig) { rig.there.acts[Step::TakeOver] = Act::Fail; },
                 "cannot run the guest"}),
    [](const auto& test) { return std::string(test.param.name); });

TEST_P(DestinationBreaks, AndTheGuestRunsOnAtTheSource)
{
    MigrationRig rig;
    GetParam().prepare(rig);
    rig.start();
    ASSERT_TRUE(rig.run_to_end());
    rig.expect_stayed();
    EXPECT_EQ(rig.destination_state(), DestinationState::Failed);
    EXPECT_NE(rig.source_error()->message.find(GetParam().words), std::string::npos)
        << rig.source_error()->text();
}

} // namespace
} // namespace drover::testing
