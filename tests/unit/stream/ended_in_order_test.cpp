// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/stream/frame_io.h"
#include "run_loop.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

namespace drover::stream {
namespace {

/// Two ends of a TCP connection.
std::pair<UniqueFd, UniqueFd> tcp_pair()
{
    const UniqueFd listener(socket(AF_INET, SOCK_STREAM, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    auto* where = reinterpret_cast<sockaddr*>(&address);
    EXPECT_EQ(bind(listener.get(), where, size), 0);
    EXPECT_EQ(listen(listener.get(), 1), 0);
    EXPECT_EQ(getsockname(listener.get(), where, &size), 0);
    UniqueFd caller(socket(AF_INET, SOCK_STREAM, 0));
    EXPECT_EQ(connect(caller.get(), where, size), 0);
    UniqueFd called(accept(listener.get(), nullptr, nullptr));
    return {std::move(caller), std::move(called)};
}

/// Whether a connection's end is taken for one that has lost nothing.
bool ends_in_order(UniqueFd ours, UniqueFd peers, const std::function<void(int)>& last_act)
{
    bool closed = false;
    FrameConnection connection(
        std::move(ours), ConnectionRole::Control, false, false,
        {.frame = [](const Frame&) {}, .closed = [&](const Error&) { closed = true; }});
    last_act(peers.get());
    peers.reset();
    EXPECT_TRUE(run_until([&] { return closed; }));
    return connection.ended_in_order();
}

TEST(EndedInOrder, IsWhatThePeerClosed)
{
    auto [ours, peers] = tcp_pair();
    EXPECT_TRUE(ends_in_order(std::move(ours), std::move(peers), [](int) {}));
}

TEST(EndedInOrder, IsNotAReset)
{
    auto [ours, peers] = tcp_pair();
    EXPECT_FALSE(ends_in_order(std::move(ours), std::move(peers), [](int peer) {
        const linger at_once{.l_onoff = 1, .l_linger = 0};
        EXPECT_EQ(setsockopt(peer, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once), 0);
    }));
}

TEST(EndedInOrder, IsNotTheMiddleOfAFrame)
{
    auto pair = socket_pair();
    ASSERT_TRUE(pair);
    EXPECT_FALSE(ends_in_order(std::move(pair->first), std::move(pair->second),
                               [](int peer) { EXPECT_EQ(write(peer, "D", 1), 1); }));
}

/// A reset within a host comes of what the peer has not read, and takes nothing with it.
TEST(EndedInOrder, IsAResetWithinAHost)
{
    auto pair = socket_pair();
    ASSERT_TRUE(pair);
    const int ours = pair->first.get();
    EXPECT_TRUE(ends_in_order(std::move(pair->first), std::move(pair->second),
                              [ours](int) { EXPECT_EQ(write(ours, "unread", 6), 6); }));
}

} // namespace
} // namespace drover::stream
