// SPDX-License-Identifier: GPL-2.0-or-later
#include "../stream/run_loop.h"
#include "migration/session/link_watch.h"

#include <gtest/gtest.h>
#include <optional>
#include <thread>
#include <unistd.h>

namespace drover {
namespace {

constexpr std::chrono::milliseconds limit{400};

/// A control connection whose peer says nothing.
struct LinkWatchTest : ::testing::Test {
    LinkWatchTest()
    {
        auto pair = socket_pair();
        EXPECT_TRUE(pair);
        peer = std::move(pair->second);
        connection = std::make_unique<stream::FrameConnection>(
            std::move(pair->first), stream::ConnectionRole::Control, false, false,
            stream::FrameConnection::Callbacks{.frame = [](const stream::Frame&) {},
                                               .closed = [](const Error&) {}});
        watch.emplace(*connection, [this](Error error) { silent = std::move(error); });
        watch->set_limit(limit);
    }

    UniqueFd peer;
    std::unique_ptr<stream::FrameConnection> connection;
    std::optional<Error> silent;
    std::optional<LinkWatch> watch;
};

TEST_F(LinkWatchTest, NoticesSilence)
{
    const TimePoint start = Clock::now();
    ASSERT_TRUE(run_until([&] { return silent.has_value(); }));
    EXPECT_EQ(silent->kind, ErrorKind::Connection);
    EXPECT_GE(Clock::now() - start, limit);
}

/// Swapped out, say, or blocked by a full log: what the peer said meanwhile has not been read yet.
TEST_F(LinkWatchTest, OurOwnStallIsNotThePeersSilence)
{
    std::this_thread::sleep_for(2 * limit); // the stall
    const TimePoint stalled = Clock::now();
    ASSERT_TRUE(run_until([&] { return silent.has_value(); }));
    EXPECT_GE(Clock::now() - stalled, limit) << "it was given no time to be heard";
}

/// A host that is busy, or far away, is so in the pause, too.
TEST_F(LinkWatchTest, IsMorePatientWithAPeerThatWasSilentBefore)
{
    constexpr std::chrono::milliseconds gap{600};
    watch->set_limit(patient_silence);
    bool told = false;
    const auto timer = loop::after(gap, [&] { told = write(peer.get(), "D", 1) == 1; });
    ASSERT_TRUE(run_until([&] { return told; }));
    const TimePoint heard = Clock::now();
    watch->set_limit(limit);
    ASSERT_TRUE(run_until([&] { return silent.has_value(); }));
    EXPECT_GE(Clock::now() - heard, 3 * gap - limit);
}

TEST_F(LinkWatchTest, EndsItsPatience)
{
    watch->set_limit(patient_silence);
    bool told = false;
    const auto timer =
        loop::after(longest_patience / 2, [&] { told = write(peer.get(), "D", 1) == 1; });
    ASSERT_TRUE(run_until([&] { return told; }));
    const TimePoint heard = Clock::now();
    watch->set_limit(limit);
    ASSERT_TRUE(run_until([&] { return silent.has_value(); }));
    EXPECT_GE(Clock::now() - heard, longest_patience - limit);
    EXPECT_LT(Clock::now() - heard, 3 * longest_patience / 2);
}

} // namespace
} // namespace drover
