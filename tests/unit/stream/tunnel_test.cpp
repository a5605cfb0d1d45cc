// SPDX-License-Identifier: GPL-2.0-or-later
#include "bytes.h"
#include "migration/stream/tunnel.h"
#include "run_loop.h"

#include <gtest/gtest.h>
#include <optional>
#include <sys/socket.h>

namespace drover::stream {
namespace {

class TunnelTest : public testing::Test {
protected:
    void SetUp() override
    {
        auto pair = socket_pair();
        ASSERT_TRUE(pair);
        source_ = std::make_unique<Tunnel>(
            std::move(pair->first), true,
            Tunnel::Callbacks{.opened = {}, .closed = [this](Error e) { source_closed_ = e; }});
        reading_ = read_preamble_async(
            std::move(pair->second), std::chrono::seconds(10), [this](Result<Greeted> greeted) {
                ASSERT_TRUE(greeted);
                ASSERT_EQ(greeted->role, ConnectionRole::Tunnel);
                destination_ = std::make_unique<Tunnel>(
                    std::move(greeted->socket), false,
                    Tunnel::Callbacks{
                        .opened = [this](UniqueFd end) { opened_.push_back(std::move(end)); },
                        .closed = [this](Error e) { destination_closed_ = e; }});
            });
    }

    /// A new stream; its end at the destination is the last of opened_.
    UniqueFd open()
    {
        auto end = source_->open();
        EXPECT_TRUE(end);
        const size_t wanted = opened_.size() + 1;
        EXPECT_TRUE(run_until([&] { return opened_.size() == wanted; }));
        return end ? std::move(*end) : UniqueFd();
    }
    static ssize_t say(const UniqueFd& end, std::span<const std::byte> bytes)
    {
        return send(end.get(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    }
    /// What has come so far, up to `size` bytes, with the loop turning meanwhile.
    Bytes hear(const UniqueFd& end, size_t size)
    {
        Bytes bytes(size);
        size_t filled = 0;
        EXPECT_TRUE(run_until([&] {
            const ssize_t n = recv(end.get(), bytes.data() + filled, size - filled, MSG_DONTWAIT);
            filled += n > 0 ? size_t(n) : 0;
            return filled == size || n == 0;
        }));
        bytes.resize(filled);
        return bytes;
    }

    std::unique_ptr<Tunnel> source_, destination_;
    std::unique_ptr<PreambleReading> reading_;
    std::vector<UniqueFd> opened_;
    std::optional<Error> source_closed_, destination_closed_;
    // hear() waits for bytes that come by the loop's own work: it must not sleep for long.
    loop::Source tick_ = loop::every(std::chrono::milliseconds(1), [] {});
};

TEST_F(TunnelTest, StreamsAreApart)
{
    const UniqueFd first = open(), second = open();
    ASSERT_EQ(say(first, bytes_of("one")), 3);
    ASSERT_EQ(say(second, bytes_of("two!")), 4);
    EXPECT_EQ(hear(opened_[0], 3), bytes_of("one"));
    EXPECT_EQ(hear(opened_[1], 4), bytes_of("two!"));
    ASSERT_EQ(say(opened_[1], bytes_of("back")), 4);
    EXPECT_EQ(hear(second, 4), bytes_of("back"));
}

TEST_F(TunnelTest, LastWordsAndTheEndAreHeard)
{
    const UniqueFd control = open();
    UniqueFd end = open();
    ASSERT_EQ(say(end, bytes_of("last")), 4);
    ASSERT_EQ(shutdown(end.get(), SHUT_WR), 0);
    EXPECT_EQ(hear(opened_[1], 100), bytes_of("last"));
    // Who has ended listens no more: what still comes harms nobody, and other streams go on.
    ASSERT_EQ(say(opened_[1], bytes_of("too late")), 8);
    opened_[1].reset();
    EXPECT_TRUE(hear(end, 1).empty());
    const UniqueFd other = open();
    ASSERT_EQ(say(other, bytes_of("on")), 2);
    EXPECT_EQ(hear(opened_[2], 2), bytes_of("on"));
}

/// Who handed the connection over waits for its end.
TEST_F(TunnelTest, TheConnectionEndsWithTheSourcesLastStream)
{
    UniqueFd first = open(), second = open();
    first.reset();
    ASSERT_EQ(say(second, bytes_of("last")), 4);
    second.reset();
    EXPECT_EQ(hear(opened_[1], 4), bytes_of("last"));
    EXPECT_TRUE(run_until([&] { return destination_closed_.has_value(); }));
    EXPECT_FALSE(source_->open());
}

TEST_F(TunnelTest, MuchDataArrivesWholeAlthoughTheReaderIsSlow)
{
    const UniqueFd end = open();
    constexpr size_t total = 48 << 20;
    Bytes chunk(64 << 10);
    size_t sent = 0, heard = 0;
    bool right = true;
    ASSERT_TRUE(run_until([&] {
        for (size_t i = 0; i < chunk.size(); ++i)
            chunk[i] = static_cast<std::byte>((sent + i) / 4099);
        const ssize_t n =
            sent < total ? say(end, std::span(chunk).first(std::min(chunk.size(), total - sent)))
                         : 0;
        sent += n > 0 ? size_t(n) : 0;
        std::byte got[20'000];
        const ssize_t m = recv(opened_[0].get(), got, sizeof got, MSG_DONTWAIT);
        for (ssize_t i = 0; i < m; ++i)
            right = right && got[i] == static_cast<std::byte>((heard + size_t(i)) / 4099);
        heard += m > 0 ? size_t(m) : 0;
        return heard == total || !right;
    }));
    EXPECT_TRUE(right);
    EXPECT_FALSE(source_closed_);
}

TEST_F(TunnelTest, AReaderThatStopsHoldsTheSenderBack)
{
    const UniqueFd end = open();
    const Bytes chunk(64 << 10);
    size_t sent = 0, idle = 0;
    // Nobody reads: after some megabytes nothing more is taken.
    ASSERT_TRUE(run_until([&] {
        const ssize_t n = say(end, chunk);
        sent += n > 0 ? size_t(n) : 0;
        idle = n > 0 ? 0 : idle + 1;
        return idle > 50 || sent > (64 << 20);
    }));
    EXPECT_LT(sent, 16U << 20);
    EXPECT_FALSE(source_closed_);
    EXPECT_EQ(hear(opened_[0], sent).size(), sent); // and goes on when it is read
}

TEST_F(TunnelTest, ABrokenConnectionEndsAllStreams)
{
    const UniqueFd first = open(), second = open();
    destination_.reset();
    ASSERT_TRUE(run_until([&] { return source_closed_.has_value(); }));
    EXPECT_TRUE(hear(first, 1).empty());
    EXPECT_TRUE(hear(second, 1).empty());
    EXPECT_TRUE(hear(opened_[0], 1).empty());
}

/// The destination's side of a tunnel against frames that no Drover sends.
TEST(TunnelForged, FramesOutOfPlace)
{
    struct Case {
        FrameType type;
        Bytes payload;
        bool breaks;
    };
    for (const Case& c : {
             Case{FrameType::TunnelOpen, encode_u32(0), true}, // twice
             Case{FrameType::Commit, {}, true},
             Case{FrameType::Pages, Bytes(32), true},
             Case{FrameType::TunnelData, hex("07 00 00 00 01"), false}, // closed long ago, perhaps
             Case{FrameType::TunnelClose, encode_u32(7), false},
         }) {
        auto pair = socket_pair();
        ASSERT_TRUE(pair);
        std::vector<UniqueFd> opened;
        bool closed = false;
        Tunnel tunnel(std::move(pair->first), false,
                      {.opened = [&](UniqueFd end) { opened.push_back(std::move(end)); },
                       .closed =
                           [&](const Error& error) {
                               EXPECT_EQ(error.kind, ErrorKind::Protocol);
                               closed = true;
                           }});
        FrameConnection forger(std::move(pair->second), ConnectionRole::Tunnel, false, false,
                               {[](const Frame&) {}, [](const Error&) {}});
        forger.send(FrameType::TunnelOpen, encode_u32(0));
        forger.send(c.type, c.payload);
        forger.send(FrameType::TunnelOpen, encode_u32(1));
        ASSERT_TRUE(run_until([&] { return closed || opened.size() == 2; }));
        EXPECT_EQ(closed, c.breaks) << frame_name(c.type);
    }
}

TEST(TunnelForged, TooManyStreams)
{
    auto pair = socket_pair();
    ASSERT_TRUE(pair);
    std::vector<UniqueFd> opened;
    bool closed = false;
    Tunnel tunnel(std::move(pair->first), false,
                  {.opened = [&](UniqueFd end) { opened.push_back(std::move(end)); },
                   .closed = [&](const Error&) { closed = true; }});
    FrameConnection forger(std::move(pair->second), ConnectionRole::Tunnel, false, false,
                           {[](const Frame&) {}, [](const Error&) {}});
    for (uint32_t id = 0; id < 1000; ++id)
        forger.send(FrameType::TunnelOpen, encode_u32(id));
    ASSERT_TRUE(run_until([&] { return closed; }));
    EXPECT_LE(opened.size(), 80U);
}

} // namespace
} // namespace drover::stream
