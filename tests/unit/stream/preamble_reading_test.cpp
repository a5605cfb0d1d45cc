// SPDX-License-Identifier: GPL-2.0-or-later
#include "bytes.h"
#include "migration/stream/frame_io.h"
#include "run_loop.h"

#include <gtest/gtest.h>
#include <optional>
#include <sys/socket.h>

namespace drover::stream {
namespace {

using namespace std::chrono_literals;

class PreambleReadingTest : public testing::Test {
protected:
    void read(std::chrono::milliseconds timeout = 10s)
    {
        auto pair = socket_pair();
        ASSERT_TRUE(pair);
        peer_ = std::move(pair->second);
        reading_ = read_preamble_async(std::move(pair->first), timeout, [this](auto result) {
            reading_.reset(); // as an owner would
            result_ = std::move(result);
        });
    }
    void say(std::span<const std::byte> bytes)
    {
        ASSERT_EQ(send(peer_.get(), bytes.data(), bytes.size(), 0), ssize_t(bytes.size()));
    }
    void expect_error(std::string_view word)
    {
        ASSERT_TRUE(run_until([&] { return result_.has_value(); }));
        ASSERT_FALSE(*result_);
        EXPECT_NE(result_->error().message.find(word), std::string::npos)
            << result_->error().message;
    }

    UniqueFd peer_;
    std::unique_ptr<PreambleReading> reading_;
    std::optional<Result<Greeted>> result_;
};

TEST_F(PreambleReadingTest, GivesRoleAndSocketAndTakesNothingElse)
{
    read();
    const auto preamble = encode_preamble(ConnectionRole::Data);
    say(std::span(preamble).first(5));
    run_ready();
    EXPECT_FALSE(result_);
    say(std::span(preamble).subspan(5));
    say(bytes_of("more"));
    ASSERT_TRUE(run_until([&] { return result_.has_value(); }));
    ASSERT_TRUE(*result_) << result_->error().text();
    EXPECT_EQ((*result_)->role, ConnectionRole::Data);
    char rest[16];
    EXPECT_EQ(recv((*result_)->socket.fd(), rest, sizeof rest, MSG_DONTWAIT), 4);
}

TEST_F(PreambleReadingTest, StrangersAreNamedAndHearWhoWeAre)
{
    read();
    say(bytes_of("GET / HTTP/1.1"));
    say(bytes_of("\r\n"));
    expect_error("an HTTP client");
    std::byte answer[64];
    ASSERT_EQ(recv(peer_.get(), answer, sizeof answer, 0), 16);
    EXPECT_EQ(to_hex(std::span(answer).first(16)),
              to_hex(encode_preamble(ConnectionRole::Control)));
}

TEST_F(PreambleReadingTest, APeerThatClosesEarly)
{
    read();
    say(bytes_of("QEVM"));
    peer_.reset();
    expect_error("a stock QEMU");
    EXPECT_EQ(result_->error().kind, ErrorKind::Connection);
}

TEST_F(PreambleReadingTest, APeerThatSaysTooLittle)
{
    read(20ms);
    say(bytes_of("DROVER\r\n"));
    expect_error("in time");
}

TEST_F(PreambleReadingTest, DestroyingItDropsTheConnectionSilently)
{
    read();
    say(bytes_of("GET /"));
    reading_.reset();
    run_ready();
    EXPECT_FALSE(result_);
    char byte;
    EXPECT_LE(recv(peer_.get(), &byte, 1, 0), 0);
}

} // namespace
} // namespace drover::stream
