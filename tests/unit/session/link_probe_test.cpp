// SPDX-License-Identifier: GPL-2.0-or-later
#include "../stream/run_loop.h"
#include "broken_link.h"
#include "migration/session/link_probe.h"

#include <gtest/gtest.h>

namespace drover::testing {
namespace {

std::optional<Result<LinkReport>> probe(const MigrationAddress& address)
{
    std::optional<Result<LinkReport>> result;
    LinkProbe probing({.destination = {address, nullptr}, .hello = {}},
                      [&](Result<LinkReport> got) { result = std::move(got); });
    EXPECT_TRUE(run_until([&] { return result.has_value(); }));
    return result;
}

TEST(LinkProbe, MeasuresAndDisturbsNothing)
{
    MigrationRig rig({.tcp = true, .postcopy = true});
    const auto report = probe(rig.address());
    ASSERT_TRUE(report && *report) << report->error().text();
    EXPECT_GT((*report)->bytes_s, 20e6) << "loopback";
    EXPECT_GT((*report)->round_trip_s, 0);
    EXPECT_LT((*report)->round_trip_s, 0.05);
    EXPECT_EQ((*report)->no_postcopy, "");
    EXPECT_TRUE(is_untouched(rig.there.fake_ram));
    rig.policy.postcopy = false;
    rig.start();
    ASSERT_TRUE(rig.run_to_end());
    rig.expect_moved();
}

TEST(LinkProbe, TellsWhatTheDestinationCannot)
{
    MigrationRig rig;
    const auto report = probe(rig.address());
    ASSERT_TRUE(report && *report) << report->error().text();
    EXPECT_EQ((*report)->no_postcopy, "the fake has no post-copy");
}

TEST(LinkProbe, OfNobodyIsAnErrorInWords)
{
    const auto report = probe(unix_address(::testing::TempDir() + "/nobody"));
    ASSERT_TRUE(report);
    ASSERT_FALSE(*report);
    EXPECT_NE((*report).error().message.find("cannot connect"), std::string::npos);
}

TEST(LinkProbe, IsTurnedAwayDuringAMigration)
{
    MigrationRig rig;
    rig.there.acts[FakeMachine::FinishLoad] = FakeMachine::Act::Hold;
    rig.start();
    ASSERT_TRUE(rig.run_to_held(rig.there, FakeMachine::FinishLoad));
    const auto report = probe(rig.address());
    ASSERT_TRUE(report);
    EXPECT_FALSE(*report);
    rig.there.release(FakeMachine::FinishLoad);
    ASSERT_TRUE(rig.run_to_end());
    rig.expect_moved();
}

} // namespace
} // namespace drover::testing
