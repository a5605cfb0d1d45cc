// SPDX-License-Identifier: GPL-2.0-or-later
//
// A link that breaks while the guest is copied: the copy goes on over another one.
#include "../stream/run_loop.h"
#include "broken_link.h"

#include <atomic>
#include <gtest/gtest.h>
#include <random>

namespace drover::testing {
namespace {

using Step = FakeMachine::Step;
using Act = FakeMachine::Act;
using stream::FrameType;
using Verdict = Relay::Verdict;

/// Cuts the link after each of these numbers of bytes on the data connections, in turn.
void cut_data_after(MigrationRig& rig, std::vector<size_t> sizes)
{
    rig.relay->judge_data = [sizes = std::move(sizes), cut = size_t{0},
                             passed = size_t{0}](size_t bytes) mutable {
        passed += bytes;
        if (cut == sizes.size() || passed < sizes[cut])
            return Verdict::Pass;
        ++cut;
        passed = 0;
        return Verdict::CutBefore;
    };
}

TEST(Reconnect, TheCopyGoesOnWhereItWas)
{
    MigrationRig rig({.blocks = {{"ram", 4000}}, .relay = true});
    cut_data_after(rig, {5'000'000});
    rig.start();
    ASSERT_TRUE(rig.run_to_end());
    rig.expect_moved();
    EXPECT_TRUE(same_ram(rig.here.fake_ram, rig.there.fake_ram));
    const SourceReport& report = rig.source->report();
    EXPECT_EQ(report.link_breaks, 1U);
    EXPECT_FALSE(report.link_error);
    EXPECT_EQ(rig.door->session()->report().link_breaks, 1U);
    const uint64_t data = 4000 / 16 * 9 * ram_page_size;
    // What two channels' sockets and the relay hold is sent twice at most.
    EXPECT_LT(report.rounds.front().bytes, data + (3U << 20));
    EXPECT_GT(report.rounds.front().bytes, data);
    EXPECT_GT(report.rounds.front().broken_s, 0);
}

TEST(Reconnect, BeforeAByteOfRamHasPassed)
{
    MigrationRig rig({.blocks = {{"ram", 1300}}, .relay = true});
    cut_data_after(rig, {1, 30, 100});
    rig.start();
    ASSERT_TRUE(rig.run_to_end());
    rig.expect_moved();
    EXPECT_TRUE(same_ram(rig.here.fake_ram, rig.there.fake_ram));
}

struct GuestShape {
    const char* name;
    bool collects_ranges;
    bool coarse;
};

class ReconnectAtRandom : public ::testing::TestWithParam<GuestShape> {};

INSTANTIATE_TEST_SUITE_P(Guests, ReconnectAtRandom,
                         ::testing::Values(GuestShape{"Ranges", true, false},
                                           GuestShape{"All", false, false},
                                           GuestShape{"Coarse", true, true}),
                         [](const auto& test) { return test.param.name; });

/// Pages that change in a byte (deltas), altogether, to zero and back, and the link breaks
/// anywhere.
TEST_P(ReconnectAtRandom, WhateverTheGuestWritesArrives)
{
    for (unsigned seed = 1; seed <= 3; ++seed) {
        std::mt19937 random(seed);
        MigrationRig rig({.blocks = {{"ram0", 2100}, {"ram1", 70}},
                          .channels = 1 + seed % 3,
                          .rounds = 6,
                          .collects_ranges = GetParam().collects_ranges,
                          .relay = true,
                          .verify = true});
        FakeRam& ram = rig.here.fake_ram;
        ram.coarse = GetParam().coarse;
        std::atomic<uint64_t> content{1U << 20};
        const auto write_some = [&](uint64_t first, uint64_t step) {
            for (uint64_t page = first; page < 2100; page += step)
                if (page % 5 == 0)
                    ram.write_zeros(0, page);
                else
                    ram.write(0, page,
                              page % 3 == 0 ? 7 : ++content); // now and then the same again
        };
        ram.before_collect_all = [&](unsigned count) { write_some(count % 13, 13); };
        ram.before_collect = [&](size_t block, uint64_t first) {
            if (block == 0)
                ram.write(0, first + first / 512 * 7 % 500, ++content);
        };
        std::vector<size_t> cuts;
        for (int i = 0; i < 6; ++i)
            cuts.push_back(std::uniform_int_distribution<size_t>(1, 1'500'000)(random));
        cut_data_after(rig, std::move(cuts));
        rig.start();
        ASSERT_TRUE(rig.run_to_end()) << seed;
        rig.expect_moved();
        EXPECT_TRUE(same_ram(ram, rig.there.fake_ram)) << seed;
        EXPECT_GT(rig.source->report().link_breaks, 1U) << seed;
    }
}

// The handshake by which it goes on is cut itself.

struct Cut {
    FrameType frame;
    Verdict verdict;
};

class ReconnectIsCut : public ::testing::TestWithParam<Cut> {};

INSTANTIATE_TEST_SUITE_P(At, ReconnectIsCut,
                         ::testing::Values(Cut{FrameType::Ask, Verdict::CutBefore},
                                           Cut{FrameType::Ask, Verdict::CutAfter},
                                           Cut{FrameType::Outcome, Verdict::CutBefore},
                                           Cut{FrameType::Outcome, Verdict::CutAfter},
                                           Cut{FrameType::Resume, Verdict::CutBefore},
                                           Cut{FrameType::Resume, Verdict::CutAfter},
                                           Cut{FrameType::Resume, Verdict::Stall},
                                           Cut{FrameType::ResumePoint, Verdict::CutBefore},
                                           Cut{FrameType::ResumePoint, Verdict::CutAfter},
                                           Cut{FrameType::ResumePoint, Verdict::Stall}),
                         [](const auto& test) {
                             const auto verdict = test.param.verdict;
                             return std::string(verdict == Verdict::Stall      ? "StallsAt"
                                                : verdict == Verdict::CutAfter ? "After"
                                                                               : "Before") +
                                    stream::frame_name(test.param.frame);
                         });

TEST_P(ReconnectIsCut, AndItGoesOnAllTheSame)
{
    MigrationRig rig({.blocks = {{"ram", 2000}}, .rounds = 3, .relay = true});
    judge_first(rig, GetParam().frame, GetParam().verdict);
    cut_data_after(rig, {2'000'000});
    rig.start();
    ASSERT_TRUE(rig.run_to_end());
    rig.expect_moved();
    EXPECT_TRUE(same_ram(rig.here.fake_ram, rig.there.fake_ram));
}

TEST(Reconnect, ALinkThatFellSilentIsFoundWithinSeconds)
{
    MigrationRig rig(relayed());
    rig.policy.rounds = 1'000'000;
    rig.start();
    ASSERT_TRUE(run_until([&] { return rig.source->report().rounds.size() >= 2; }));
    rig.relay->stall();
    const TimePoint stalled = Clock::now();
    ASSERT_TRUE(rig.run_to(SourceState::Reconnecting));
    EXPECT_LT(seconds_since(stalled), 5); // about 3.1 on an idle host
    rig.policy.rounds = 1;
    ASSERT_TRUE(rig.run_to_end());
    rig.expect_moved();
    rig.relay->resume(); // what was on the way arrives at last
    run_ready();
    EXPECT_TRUE(same_ram(rig.here.fake_ram, rig.there.fake_ram));
}

/// Until the source has noticed a break, and cannot reach the destination.
void break_for_good(MigrationRig& rig)
{
    rig.policy.rounds = 1'000'000;
    rig.start();
    ASSERT_TRUE(run_until([&] { return rig.source->report().rounds.size() >= 2; }));
    rig.relay->refuses = true;
    rig.relay->cut();
    ASSERT_TRUE(rig.run_to(SourceState::Reconnecting));
    ASSERT_TRUE(rig.run_to(DestinationState::Reconnecting));
    EXPECT_EQ(rig.witness.runner(), "the source");
    EXPECT_TRUE(rig.source->report().link_error);
}

TEST(Reconnect, WhoCancelsMeanwhileHasTheDestinationToldSo)
{
    MigrationRig rig(relayed());
    ASSERT_NO_FATAL_FAILURE(break_for_good(rig));
    rig.cancel();
    ASSERT_TRUE(rig.run_to_end());
    rig.expect_stayed();
    EXPECT_EQ(rig.destination_state(), DestinationState::Reconnecting);
    rig.relay->refuses = false;
    ASSERT_TRUE(rig.run_to(DestinationState::Failed));
}

TEST(Reconnect, BothSidesGiveUpWhenItTakesTooLong)
{
    MigrationRig rig({.relay = true, .reconnect_s = 0.3});
    ASSERT_NO_FATAL_FAILURE(break_for_good(rig));
    ASSERT_TRUE(rig.run_to_end());
    rig.expect_stayed();
    EXPECT_NE(rig.source_error()->message.find("away for too long"), std::string::npos);
    ASSERT_TRUE(rig.run_to(DestinationState::Failed));
}

TEST(Reconnect, ASourceLearnsThatItsDestinationGaveUp)
{
    MigrationRig rig(relayed());
    ASSERT_NO_FATAL_FAILURE(break_for_good(rig));
    rig.door->session()->fail({ErrorKind::Machine, "its QEMU died", ""});
    rig.relay->refuses = false;
    ASSERT_TRUE(rig.run_to_end());
    rig.expect_stayed();
}

TEST(Reconnect, NobodyCallsForeverWhereNobodyListens)
{
    MigrationRig rig; // without a relay
    rig.policy.rounds = 1'000'000;
    rig.start();
    ASSERT_TRUE(run_until([&] { return rig.source->report().rounds.size() >= 2; }));
    rig.door.reset();
    rig.there.kill();
    ASSERT_TRUE(rig.run_to_end());
    rig.expect_stayed();
    EXPECT_NE(rig.source_error()->message.find("has ended"), std::string::npos)
        << rig.source_error()->text();
}

TEST(Reconnect, ADeadlineThatEndsTheMigrationDoesSoMeanwhile)
{
    MigrationRig rig(
        {.relay = true, .deadline_s = 1.5, .on_stall = {StallAction::Wait, StallAction::Abort}});
    ASSERT_NO_FATAL_FAILURE(break_for_good(rig));
    ASSERT_TRUE(rig.run_to_end());
    rig.expect_stayed();
    EXPECT_LT(rig.source->report().total_s, 5);
}

TEST(Reconnect, IsNotToBeHadFromAStranger)
{
    MigrationRig rig(relayed());
    ASSERT_NO_FATAL_FAILURE(break_for_good(rig));
    rig.door->session()->asked(
        {}, [](stream::Outcome outcome) { EXPECT_EQ(outcome, stream::Outcome::Unknown); }, {});
    EXPECT_EQ(rig.destination_state(), DestinationState::Reconnecting);
}

} // namespace
} // namespace drover::testing
