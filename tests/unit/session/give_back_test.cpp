// SPDX-License-Identifier: GPL-2.0-or-later
#include "../stream/run_loop.h"
#include "broken_link.h"

#include <gtest/gtest.h>
#include <optional>

namespace drover::testing {
namespace {

/// A guest that has arrived, and that nobody has run there yet: as after each libvirt migration.
struct GiveBack : ::testing::Test {
    void arrive(const RigOptions& options)
    {
        rig.emplace(options);
        rig->there.stays_paused = true;
        rig->start();
        ASSERT_TRUE(rig->run_to_end());
        ASSERT_EQ(rig->source->state(), SourceState::Completed);
        ASSERT_TRUE(rig->source->report().arrived_paused);
        ASSERT_TRUE(rig->run_to(DestinationState::Completed));
    }
    void take_back()
    {
        rig->source->take_back([this](Status status) { answer = std::move(status); });
    }
    bool answered()
    {
        return run_until([this] { return answer.has_value(); });
    }
    DestinationSession& destination() { return *rig->door->session(); }

    /// What is left of the source lives on until the next migration: what it still watches must
    /// still be there (seen by ASan).
    void TearDown() override
    {
        bool pinged = false;
        const auto pings = loop::after(std::chrono::milliseconds(250), [&] { pinged = true; });
        EXPECT_TRUE(run_until([&] { return pinged; }));
    }

    std::optional<MigrationRig> rig;
    std::optional<Status> answer;
};

TEST_F(GiveBack, TheSourceGetsWhatHasNotRunThere)
{
    ASSERT_NO_FATAL_FAILURE(arrive({}));
    take_back();
    ASSERT_TRUE(answered());
    EXPECT_TRUE(*answer) << answer->error().text();
    EXPECT_TRUE(destination().is_given_back());
    EXPECT_FALSE(destination().claim()) << "never again";
}

TEST_F(GiveBack, NotOnceItWasRunThere)
{
    ASSERT_NO_FATAL_FAILURE(arrive({}));
    EXPECT_TRUE(destination().claim());
    ASSERT_TRUE(run_until([&] { return !rig->source->report().arrived_paused; })) << "it is told";
    take_back();
    ASSERT_TRUE(answered());
    EXPECT_FALSE(*answer);
    EXPECT_FALSE(rig->source->resolve(true));
}

TEST_F(GiveBack, NotWhenBothWantItAtOnce)
{
    ASSERT_NO_FATAL_FAILURE(arrive({}));
    take_back(); // on its way, and not there yet
    EXPECT_TRUE(destination().claim());
    ASSERT_TRUE(answered());
    EXPECT_FALSE(*answer);
}

TEST_F(GiveBack, IsAskedForAnewWhereTheLinkHasEnded)
{
    for (const bool claimed : {false, true}) {
        ASSERT_NO_FATAL_FAILURE(arrive(relayed()));
        rig->relay->cut();
        run_ready();
        if (claimed) {
            EXPECT_TRUE(destination().claim()) << "nobody has to be asked";
        }
        answer.reset();
        take_back();
        ASSERT_TRUE(answered());
        EXPECT_EQ(answer->has_value(), !claimed);
        EXPECT_EQ(destination().is_given_back(), !claimed);
    }
}

/// The guest runs here again, and then its hypervisor ends: it knows nobody any more whom it told.
TEST_F(GiveBack, TheSessionThatHadItIsForgotten)
{
    ASSERT_NO_FATAL_FAILURE(arrive({}));
    take_back();
    ASSERT_TRUE(answered());
    ASSERT_TRUE(*answer);
    rig->source.reset();
    rig->here.break_save(); // AddressSanitizer sees who is called
}

/// As libvirt does when the last phase fails: it ends the destination, and runs the source.
TEST_F(GiveBack, AnEndedDestinationHasGivenIt)
{
    ASSERT_NO_FATAL_FAILURE(arrive({}));
    rig->there.kill();
    rig->door.reset();
    run_ready();
    take_back();
    ASSERT_TRUE(answered());
    EXPECT_TRUE(*answer) << answer->error().text();
}

/// Whether it is the Commit that was lost, or the word that it has arrived.
TEST_F(GiveBack, AlsoWhereTheSourceHadToAsk)
{
    for (const auto lost : {stream::FrameType::Commit, stream::FrameType::Arrived}) {
        rig.emplace(relayed());
        rig->there.stays_paused = true;
        judge_first(*rig, lost, Relay::Verdict::CutBefore);
        rig->start();
        ASSERT_TRUE(rig->run_to_end());
        ASSERT_EQ(rig->source->state(), SourceState::Completed);
        ASSERT_TRUE(rig->source->report().arrived_paused) << stream::frame_name(lost);
        answer.reset();
        take_back();
        ASSERT_TRUE(answered());
        EXPECT_TRUE(*answer) << answer->error().text();
        EXPECT_TRUE(destination().is_given_back());
    }
}

/// It may have run the guest since: it had no link over which to tell.
TEST_F(GiveBack, NotByTheEndOfADestinationThatHadToBeAsked)
{
    rig.emplace(relayed());
    rig->there.stays_paused = true;
    judge_first(*rig, stream::FrameType::Arrived, Relay::Verdict::CutBefore);
    rig->start();
    ASSERT_TRUE(rig->run_to_end());
    rig->there.kill();
    rig->door.reset();
    rig->relay.reset();
    run_ready();
    take_back();
    ASSERT_TRUE(answered());
    EXPECT_FALSE(*answer);
    EXPECT_TRUE(rig->source->resolve(true)) << "the operator knows";
}

} // namespace
} // namespace drover::testing
