// SPDX-License-Identifier: GPL-2.0-or-later
#include "bytes.h"
#include "migration/stream/frame_io.h"
#include "run_loop.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <optional>
#include <sys/socket.h>
#include <unistd.h>

namespace drover::stream {
namespace {

struct Received {
    FrameType type;
    Bytes payload;
};

/// One end: a connection and all that it was told.
struct End {
    std::unique_ptr<FrameConnection> connection;
    std::vector<Received> frames;
    std::optional<Error> closed;
    int closed_calls = 0;

    void open(UniqueFd socket, bool send_preamble = false, bool expect_preamble = false)
    {
        connection = std::make_unique<FrameConnection>(
            std::move(socket), ConnectionRole::Control, send_preamble, expect_preamble,
            FrameConnection::Callbacks{[this](const Frame& frame) {
                                           frames.push_back(
                                               {frame.header.type,
                                                {frame.payload.begin(), frame.payload.end()}});
                                       },
                                       [this](Error error) {
                                           closed = std::move(error);
                                           ++closed_calls;
                                       }});
    }
};

class FrameConnectionTest : public testing::Test {
protected:
    void SetUp() override
    {
        auto pair = socket_pair();
        ASSERT_TRUE(pair);
        left_socket_ = std::move(pair->first);
        right_socket_ = std::move(pair->second);
    }

    /// What the raw right end sends.
    void say(std::span<const std::byte> bytes)
    {
        ASSERT_EQ(send(right_socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL),
                  ssize_t(bytes.size()));
    }
    Bytes frame(FrameType type, const Bytes& payload, uint64_t sequence)
    {
        const auto header =
            encode_header({type, 0, uint32_t(payload.size()), sequence, payload_checksum(payload)});
        return joined({header, payload});
    }
    bool run_until_left_closed()
    {
        return run_until([&] { return left_.closed.has_value(); });
    }
    /// Everything up to the end of the stream, read without the loop.
    Bytes hear_all()
    {
        Bytes all;
        std::byte buffer[65536];
        for (ssize_t n = 1; (n = recv(right_socket_.get(), buffer, sizeof buffer, 0)) > 0;)
            all.insert(all.end(), buffer, buffer + n);
        return all;
    }

    UniqueFd left_socket_, right_socket_;
    End left_, right_;
};

TEST_F(FrameConnectionTest, FramesGoBothWaysAfterTheGreeting)
{
    left_.open(std::move(left_socket_), true, true);
    right_.open(std::move(right_socket_), true, true);
    left_.connection->send_json(FrameType::Hello, Json{{"a", 1}});
    left_.connection->send(FrameType::Ping, encode_u64(1));
    right_.connection->send(FrameType::Ready);
    ASSERT_TRUE(run_until([&] { return right_.frames.size() == 2 && left_.frames.size() == 1; }));
    EXPECT_EQ(right_.frames[0].type, FrameType::Hello);
    EXPECT_EQ(right_.frames[0].payload, bytes_of("{\"a\":1}"));
    EXPECT_EQ(right_.frames[1].type, FrameType::Ping);
    EXPECT_EQ(left_.frames[0].type, FrameType::Ready);
    EXPECT_TRUE(left_.frames[0].payload.empty());
    EXPECT_EQ(left_.connection->bytes_sent(), 16U + 32 + 7 + 32 + 8);
    EXPECT_FALSE(left_.closed);
}

TEST_F(FrameConnectionTest, ABigQueueArrivesWholeAndInOrder)
{
    left_.open(std::move(left_socket_));
    const Bytes chunk(max_device_payload, std::byte{0x77});
    for (int i = 0; i < 40; ++i) // 40 MiB: far more than a socket's buffer holds
        left_.connection->send(FrameType::DeviceData, chunk);
    left_.connection->send(FrameType::Ready);
    EXPECT_LT(left_.connection->bytes_sent(), 40U * max_device_payload);
    right_.open(std::move(right_socket_));
    ASSERT_TRUE(run_until([&] { return right_.frames.size() == 41; }));
    for (int i = 0; i < 40; ++i)
        ASSERT_EQ(right_.frames[size_t(i)].payload, chunk);
    EXPECT_EQ(right_.frames[40].type, FrameType::Ready);
    EXPECT_FALSE(left_.closed);
}

TEST_F(FrameConnectionTest, APeerThatDoesNotReadIsGivenUp)
{
    left_.open(std::move(left_socket_));
    const Bytes chunk(max_device_payload);
    for (int i = 0; i < 70; ++i)
        left_.connection->send(FrameType::DeviceData, chunk);
    EXPECT_FALSE(left_.closed) << "not from within send()";
    ASSERT_TRUE(run_until_left_closed());
    EXPECT_EQ(left_.closed->kind, ErrorKind::Connection);
    EXPECT_NE(left_.closed->message.find("does not read"), std::string::npos);
    run_ready();
    EXPECT_EQ(left_.closed_calls, 1);
}

TEST_F(FrameConnectionTest, PeerClosesMidFrame)
{
    left_.open(std::move(left_socket_));
    const Bytes bytes = frame(FrameType::Ping, encode_u64(7), 0);
    say(std::span(bytes).first(35));
    right_socket_.reset();
    ASSERT_TRUE(run_until_left_closed());
    EXPECT_EQ(left_.closed->kind, ErrorKind::Connection);
    EXPECT_TRUE(left_.frames.empty());
    left_.connection->send(FrameType::Ready); // harmless
    run_ready();
    EXPECT_EQ(left_.closed_calls, 1);
}

TEST_F(FrameConnectionTest, AFrameThatArrivesByteByByte)
{
    left_.open(std::move(left_socket_));
    for (const std::byte byte : frame(FrameType::Ping, encode_u64(7), 0)) {
        EXPECT_TRUE(left_.frames.empty());
        say({&byte, 1});
        run_ready();
    }
    ASSERT_EQ(left_.frames.size(), 1U);
    EXPECT_EQ(left_.frames[0].payload, encode_u64(7));
}

TEST_F(FrameConnectionTest, StrangersAreNamed)
{
    const std::pair<Bytes, const char*> strangers[] = {
        {bytes_of("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), "an HTTP client"},
        {hex("51 45 56 4d 00 00 00 03 07 00 00 00 02 70 63 00"), "a stock QEMU's own migration"},
        {hex("16 03 01 02 00 01 00 01 fc 03 03 00 00 00 00 00"), "a TLS client"},
        {hex("44 52 4f 56 45 52 0d 0a 09 00 00 00 01 00 00 00"), "format 9"},
        {hex("44 52 4f 56 45 52 0d 0a 01 00 00 00 02 00 00 00"), "another role"},
    };
    for (const auto& [bytes, what] : strangers) {
        SetUp();
        End end;
        end.open(std::move(left_socket_), false, true);
        say(bytes);
        ASSERT_TRUE(run_until([&] { return end.closed.has_value(); })) << what;
        EXPECT_NE(end.closed->message.find(what), std::string::npos) << end.closed->message;
    }
}

TEST_F(FrameConnectionTest, AnOpenerHearsWhyItsPreambleIsNotTaken)
{
    const std::pair<Bytes, const char*> answers[] = {
        {hex("44 52 4f 56 45 52 0d 0a 09 00 00 00 01 00 00 00"), "format 9"},
        {hex("44 52 4f 56 45 52 0d 0a 01 00 00 00 01 00 00 00"), "closed the connection"},
        {bytes_of("SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n"), "an SSH program"},
        {bytes_of("HTTP/1.1 400 Bad Request\r\nServer: x\r\n"), "an HTTP server"},
        {bytes_of("hello"), "an unknown program"},
        {{}, "a program that sends nothing"},
    };
    for (const auto& [bytes, what] : answers) {
        SetUp();
        End end;
        end.open(std::move(left_socket_), true, false);
        say(bytes);
        right_socket_.reset();
        ASSERT_TRUE(run_until([&] { return end.closed.has_value(); })) << what;
        EXPECT_NE(end.closed->message.find(what), std::string::npos) << end.closed->message;
    }
}

TEST_F(FrameConnectionTest, AnOpenerTakesFramesWithAndWithoutAPreambleBefore)
{
    for (const bool greeted : {false, true}) {
        SetUp();
        End end;
        end.open(std::move(left_socket_), true, false);
        if (greeted)
            say(encode_preamble(ConnectionRole::Control));
        say(frame(FrameType::Ping, encode_u64(7), 0));
        say(frame(FrameType::Ready, {}, 1));
        ASSERT_TRUE(run_until([&] { return end.frames.size() == 2; }));
        EXPECT_EQ(end.frames[0].payload, encode_u64(7));
        say(with_bit_flipped(frame(FrameType::Ready, {}, 2), 0));
        ASSERT_TRUE(run_until([&] { return end.closed.has_value(); }));
        EXPECT_NE(end.closed->message.find("checksum"), std::string::npos) << end.closed->message;
    }
}

TEST_F(FrameConnectionTest, APeerThatClosesInsteadOfGreeting)
{
    left_.open(std::move(left_socket_), true, true);
    say(bytes_of("GET /"));
    right_socket_.reset();
    ASSERT_TRUE(run_until_left_closed());
    EXPECT_EQ(left_.closed->kind, ErrorKind::Connection);
    EXPECT_NE(left_.closed->message.find("an HTTP client"), std::string::npos);
    EXPECT_FALSE(left_.closed->hint.empty());
}

TEST_F(FrameConnectionTest, ABrokenFormatIsReportedAndLastWordsStillGo)
{
    left_.open(std::move(left_socket_));
    say(frame(FrameType::Ping, encode_u64(7), 1)); // the first has number 0
    ASSERT_TRUE(run_until_left_closed());
    EXPECT_EQ(left_.closed->kind, ErrorKind::Protocol);
    left_.connection->send_json(FrameType::Abort, error_to_json(*left_.closed));
    FrameConnection::close_gracefully(std::move(left_.connection));
    const Bytes heard = hear_all();
    ASSERT_GT(heard.size(), 32U);
    EXPECT_EQ(heard[0], std::byte{14});
}

TEST_F(FrameConnectionTest, LastWordsArriveAlthoughMuchIsUnread)
{
    left_.open(std::move(left_socket_));
    const Bytes chunk(max_device_payload, std::byte{1});
    for (int i = 0; i < 8; ++i)
        left_.connection->send(FrameType::DeviceData, chunk);
    left_.connection->send_json(FrameType::Refuse,
                                error_to_json({ErrorKind::Refused, "no", "later"}));
    FrameConnection::close_gracefully(std::move(left_.connection));
    right_.open(std::move(right_socket_));
    for (int i = 0; i < 100; ++i) // and the peer is still talking
        right_.connection->send(FrameType::Ping, encode_u64(0));
    ASSERT_TRUE(run_until([&] { return right_.closed.has_value(); }));
    ASSERT_EQ(right_.frames.size(), 9U);
    EXPECT_EQ(right_.frames[8].type, FrameType::Refuse);
    EXPECT_EQ(error_from_json(*decode_json(right_.frames[8].payload)).message, "no");
    EXPECT_EQ(right_.closed->kind, ErrorKind::Connection);
}

TEST_F(FrameConnectionTest, GracefulClosingOfWhatIsBrokenEndsAtOnce)
{
    const int number = left_socket_.get();
    left_.open(std::move(left_socket_));
    right_socket_.reset();
    ASSERT_TRUE(run_until_left_closed());
    FrameConnection::close_gracefully(std::move(left_.connection));
    EXPECT_LT(fcntl(number, F_GETFD), 0);
    FrameConnection::close_gracefully(nullptr);
}

TEST_F(FrameConnectionTest, GracefulClosingReadsOnAndEndsWithThePeer)
{
    const int number = left_socket_.get();
    left_.open(std::move(left_socket_));
    left_.connection->send(FrameType::Ready);
    FrameConnection::close_gracefully(std::move(left_.connection));
    say(Bytes(100'000));
    right_socket_.reset();
    for (int turn = 0; turn < 20; ++turn) // far less than the second that it may take
        g_main_context_iteration(nullptr, FALSE);
    EXPECT_LT(fcntl(number, F_GETFD), 0);
}

TEST_F(FrameConnectionTest, GracefulClosingGivesUpOnAPeerThatStays)
{
    const int number = left_socket_.get();
    left_.open(std::move(left_socket_));
    left_.connection->send(FrameType::Ready);
    FrameConnection::close_gracefully(std::move(left_.connection));
    EXPECT_EQ(hear_all(), frame(FrameType::Ready, {}, 0)); // the end of the stream comes at once
    EXPECT_GE(fcntl(number, F_GETFD), 0);
    EXPECT_TRUE(run_until([&] { return fcntl(number, F_GETFD) < 0; })); // after a second
}

TEST_F(FrameConnectionTest, CallbacksMayDestroyTheConnection)
{
    std::unique_ptr<FrameConnection> connection;
    int frames = 0;
    connection = std::make_unique<FrameConnection>(
        std::move(left_socket_), ConnectionRole::Control, false, false,
        FrameConnection::Callbacks{[&](const Frame&) {
                                       ++frames;
                                       connection.reset();
                                   },
                                   [&](Error) { FAIL() << "it was destroyed"; }});
    say(frame(FrameType::Ready, {}, 0));
    say(frame(FrameType::Ready, {}, 1));
    ASSERT_TRUE(run_until([&] { return frames > 0; }));
    run_ready();
    EXPECT_EQ(frames, 1);

    SetUp();
    bool closed = false;
    connection = std::make_unique<FrameConnection>(
        std::move(left_socket_), ConnectionRole::Control, false, false,
        FrameConnection::Callbacks{[](const Frame&) {},
                                   [&](Error) {
                                       closed = true;
                                       connection.reset();
                                   }});
    right_socket_.reset();
    EXPECT_TRUE(run_until([&] { return closed; }));
}

TEST_F(FrameConnectionTest, AFrameCallbackMayCloseGracefully)
{
    std::unique_ptr<FrameConnection> connection;
    connection = std::make_unique<FrameConnection>(
        std::move(left_socket_), ConnectionRole::Control, false, false,
        FrameConnection::Callbacks{[&](const Frame&) {
                                       connection->send(FrameType::Ready);
                                       FrameConnection::close_gracefully(std::move(connection));
                                   },
                                   [&](Error) { FAIL() << "it was closed by us"; }});
    right_.open(std::move(right_socket_));
    right_.connection->send(FrameType::Commit);
    ASSERT_TRUE(run_until([&] { return right_.closed.has_value(); }));
    ASSERT_EQ(right_.frames.size(), 1U);
}

TEST_F(FrameConnectionTest, WhatThePeerSaidBeforeItClosedIsHeardAlthoughWritingFails)
{
    say(frame(FrameType::Refuse, encode_json(error_to_json({ErrorKind::Refused, "busy", ""})), 0));
    right_socket_.reset();
    left_.open(std::move(left_socket_));
    left_.connection->send(FrameType::Ready); // EPIPE
    ASSERT_TRUE(run_until_left_closed());
    ASSERT_EQ(left_.frames.size(), 1U);
    EXPECT_EQ(left_.frames[0].type, FrameType::Refuse);
}

TEST_F(FrameConnectionTest, LastHeardMovesWithEachByte)
{
    left_.open(std::move(left_socket_));
    const TimePoint before = left_.connection->last_heard();
    const Bytes bytes = frame(FrameType::Ready, {}, 0);
    say(std::span(bytes).first(1));
    EXPECT_TRUE(run_until([&] { return left_.connection->last_heard() > before; }));
}

TEST_F(FrameConnectionTest, AFrameOverTheCapIsNotSent)
{
    left_.open(std::move(left_socket_));
    left_.connection->send_json(FrameType::Hello, Json{{"a", std::string(max_json_payload, 'x')}});
    ASSERT_TRUE(run_until_left_closed());
    EXPECT_EQ(left_.closed->kind, ErrorKind::Invalid);
    EXPECT_EQ(left_.connection->bytes_sent(), 0U);
}

} // namespace
} // namespace drover::stream
