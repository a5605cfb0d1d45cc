// SPDX-License-Identifier: GPL-2.0-or-later
#include "../stream/run_loop.h"
#include "migration/session/link_watch.h"

#include <gtest/gtest.h>
#include <optional>
#include <thread>

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

} // namespace
} // namespace drover
