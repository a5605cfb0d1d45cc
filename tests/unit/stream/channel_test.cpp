// SPDX-License-Identifier: GPL-2.0-or-later
#include "bytes.h"
#include "migration/transport/channel.h"

#include <barrier>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <thread>

namespace drover {
namespace {

using stream::Bytes;

class ChannelTest : public testing::Test {
protected:
    void SetUp() override
    {
        auto pair = socket_pair();
        ASSERT_TRUE(pair);
        left_fd_ = pair->first.get();
        left_ = make_socket_channel(std::move(pair->first));
        right_ = make_socket_channel(std::move(pair->second));
    }

    static iovec piece(Bytes& bytes) { return {bytes.data(), bytes.size()}; }

    int left_fd_ = -1;
    std::unique_ptr<Channel> left_, right_;
};

TEST_F(ChannelTest, PiecesArriveInOrderAndAreCounted)
{
    Bytes a = stream::bytes_of("one "), none, b = stream::bytes_of("two");
    const iovec pieces[] = {piece(none), piece(a), piece(none), piece(b), piece(none)};
    ASSERT_TRUE(left_->write_all(pieces));
    EXPECT_EQ(left_->bytes_written(), 7U);
    Bytes got(7);
    ASSERT_TRUE(right_->read_exact(got));
    EXPECT_EQ(got, stream::bytes_of("one two"));
    ASSERT_TRUE(left_->write_all({}));
    ASSERT_TRUE(right_->read_exact({}));
}

TEST_F(ChannelTest, MoreThanTheSocketHoldsAndMorePiecesThanTheKernelTakes)
{
    constexpr size_t pieces_count = 3000, piece_size = 4001;
    Bytes all(pieces_count * piece_size);
    for (size_t i = 0; i < all.size(); ++i)
        all[i] = static_cast<std::byte>(i * 31 + i / 251);
    std::vector<iovec> pieces;
    for (size_t i = 0; i < pieces_count; ++i)
        pieces.push_back({all.data() + i * piece_size, piece_size});
    std::jthread writer([&] { EXPECT_TRUE(left_->write_all(pieces)); });
    Bytes got(all.size());
    ASSERT_TRUE(right_->read_exact(got));
    EXPECT_TRUE(got == all);
    writer.join();
    EXPECT_EQ(left_->bytes_written(), all.size());
}

TEST_F(ChannelTest, ANonBlockingSocketBlocksAllTheSame)
{
    ASSERT_TRUE(set_nonblocking(left_fd_, true));
    Bytes out(8 << 20, std::byte{1}), back(8 << 20);
    const iovec pieces[] = {piece(out)};
    std::jthread peer([&] {
        Bytes got(out.size());
        EXPECT_TRUE(right_->read_exact(got));
        const iovec answer[] = {piece(got)};
        EXPECT_TRUE(right_->write_all(answer));
    });
    ASSERT_TRUE(left_->write_all(pieces));
    ASSERT_TRUE(left_->read_exact(back));
    EXPECT_TRUE(back == out);
}

TEST_F(ChannelTest, AGonePeerIsAConnectionErrorAndNoSignal)
{
    Bytes bytes(100);
    const iovec pieces[] = {piece(bytes)};
    ASSERT_TRUE(right_->write_all(pieces));
    right_.reset();
    ASSERT_TRUE(left_->read_exact(bytes)); // what it sent before is still there
    const auto read = left_->read_exact(std::span(bytes).first(1));
    ASSERT_FALSE(read);
    EXPECT_EQ(read.error().kind, ErrorKind::Connection);
    const auto written = left_->write_all(pieces);
    ASSERT_FALSE(written);
    EXPECT_EQ(written.error().kind, ErrorKind::Connection);
}

TEST_F(ChannelTest, TheEndWithinAReadIsAnError)
{
    Bytes three(3), four(4);
    const iovec pieces[] = {piece(three)};
    ASSERT_TRUE(right_->write_all(pieces));
    right_.reset();
    const auto read = left_->read_exact(four);
    ASSERT_FALSE(read);
    EXPECT_EQ(read.error().kind, ErrorKind::Connection);
}

TEST_F(ChannelTest, AbortWakesABlockedReader)
{
    std::barrier ready(2);
    std::jthread reader([&] {
        Bytes bytes(2);
        // One byte is there; the second never comes.
        ready.arrive_and_wait();
        const auto read = left_->read_exact(bytes);
        ASSERT_FALSE(read);
        EXPECT_EQ(read.error().kind, ErrorKind::Cancelled);
    });
    Bytes one(1);
    const iovec pieces[] = {piece(one)};
    ASSERT_TRUE(right_->write_all(pieces));
    ready.arrive_and_wait();
    // Once the byte has been taken the reader waits for the next one (or will in a moment).
    for (int left = 1; left > 0;) {
        ASSERT_EQ(ioctl(left_fd_, FIONREAD, &left), 0);
        std::this_thread::yield();
    }
    left_->abort();
}

TEST_F(ChannelTest, AbortWakesABlockedWriter)
{
    std::jthread writer([&] {
        Bytes bytes(16 << 20);
        const iovec pieces[] = {piece(bytes)};
        const auto written = left_->write_all(pieces);
        ASSERT_FALSE(written);
        EXPECT_EQ(written.error().kind, ErrorKind::Cancelled);
    });
    Bytes some(1);
    ASSERT_TRUE(right_->read_exact(some)); // the writer is at work, and cannot finish
    left_->abort();
}

TEST_F(ChannelTest, AfterAbortNothingWorks)
{
    Bytes bytes(10);
    const iovec pieces[] = {piece(bytes)};
    ASSERT_TRUE(right_->write_all(pieces));
    left_->abort();
    left_->abort();
    EXPECT_EQ(left_->read_exact(bytes).error().kind, ErrorKind::Cancelled);
    EXPECT_EQ(left_->write_all(pieces).error().kind, ErrorKind::Cancelled);
    EXPECT_EQ(left_->bytes_written(), 0U);
    // The peer sees the end.
    EXPECT_EQ(right_->read_exact(bytes).error().kind, ErrorKind::Connection);
}

TEST_F(ChannelTest, ReaderWriterCounterAndAbortInFourThreads)
{
    std::barrier start(4);
    std::jthread writer([&] {
        Bytes bytes(64 << 10);
        const iovec pieces[] = {piece(bytes)};
        start.arrive_and_wait();
        while (left_->write_all(pieces)) {
        }
    });
    std::jthread echo([&] {
        Bytes bytes(64 << 10);
        const iovec pieces[] = {piece(bytes)};
        start.arrive_and_wait();
        while (right_->read_exact(bytes) && right_->write_all(pieces)) {
        }
    });
    std::jthread reader([&] {
        Bytes bytes(1000);
        start.arrive_and_wait();
        while (left_->read_exact(bytes)) {
        }
    });
    start.arrive_and_wait();
    while (left_->bytes_written() < (4 << 20))
        std::this_thread::yield();
    left_->abort();
}

} // namespace
} // namespace drover
