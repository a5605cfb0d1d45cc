// SPDX-License-Identifier: GPL-2.0-or-later
#include "bytes.h"
#include "memory_channel.h"
#include "migration/stream/frame_io.h"

#include <gtest/gtest.h>

namespace drover::stream {
namespace {

/// A stream of three frames: Ping, Pages (one raw page), Ready.
Bytes example_stream()
{
    MemoryChannel channel;
    FrameWriter writer(channel);
    Bytes head;
    encode_pages_table({0, 1, 4096, {{9, 1, PageEncoding::Raw}}}, head);
    const Bytes page(4096, std::byte{0xab});
    const std::array<std::span<const std::byte>, 2> pieces = {head, page};
    EXPECT_TRUE(writer.write(FrameType::Ping, encode_u64(42)));
    EXPECT_TRUE(writer.write(FrameType::Pages, pieces));
    EXPECT_TRUE(writer.write(FrameType::Ready, std::span<const std::byte>{}));
    return channel.out;
}

/// How many frames come out before the first error.
size_t readable_frames(const Bytes& bytes, Error& error)
{
    MemoryChannel channel(bytes);
    FrameReader reader(channel);
    for (size_t count = 0;; ++count) {
        const auto frame = reader.read();
        if (!frame) {
            error = frame.error();
            return count;
        }
    }
}

TEST(FrameIo, GoldenStream)
{
    MemoryChannel channel;
    FrameWriter writer(channel);
    ASSERT_TRUE(writer.write_preamble(ConnectionRole::Data));
    ASSERT_TRUE(writer.write(FrameType::RoundEnd, encode(RoundEnd{1, false})));
    ASSERT_TRUE(writer.write(FrameType::RoundEnd, encode(RoundEnd{2, true})));
    EXPECT_EQ(to_hex(channel.out), to_hex(hex("44 52 4f 56 45 52 0d 0a 01 00 00 00 02 00 00 00"
                                              "06 00 00 00 08 00 00 00 00 00 00 00 00 00 00 00"
                                              "2e 79 db 64 35 59 bc 2f b0 80 fe 3f 85 6e f5 87"
                                              "01 00 00 00 00 00 00 00"
                                              "06 00 00 00 08 00 00 00 01 00 00 00 00 00 00 00"
                                              "e8 b1 48 d1 7e 23 0b 2b db 9b f6 17 66 7d df 9f"
                                              "02 00 00 00 01 00 00 00")));
}

/// The header is enough: nothing is allocated for what it claims.
TEST(FrameIo, AnotherTypeThanExpectedIsRefusedByItsHeader)
{
    const auto header = encode_header({.type = FrameType::Pages, .payload_size = 1U << 20});
    MemoryChannel channel(Bytes(header.begin(), header.end()));
    FrameReader reader(channel);
    const auto frame = reader.read(FrameType::Join);
    ASSERT_FALSE(frame);
    EXPECT_EQ(frame.error().kind, ErrorKind::Protocol) << frame.error().text();
}

TEST(FrameIo, WhatIsWrittenIsRead)
{
    MemoryChannel channel(example_stream());
    FrameReader reader(channel);
    auto frame = reader.read();
    ASSERT_TRUE(frame) << frame.error().text();
    EXPECT_EQ((*frame)->header.type, FrameType::Ping);
    EXPECT_EQ((*frame)->header.sequence, 0U);
    EXPECT_EQ(decode_u64((*frame)->payload), 42U);
    frame = reader.read();
    ASSERT_TRUE(frame);
    EXPECT_EQ((*frame)->header.sequence, 1U);
    const auto pages = decode_pages((*frame)->payload);
    ASSERT_TRUE(pages);
    EXPECT_EQ(pages->raw.size(), 4096U);
    EXPECT_EQ(pages->raw[4095], std::byte{0xab});
    frame = reader.read();
    ASSERT_TRUE(frame);
    EXPECT_EQ((*frame)->header.type, FrameType::Ready);
    EXPECT_TRUE((*frame)->payload.empty());
    EXPECT_EQ(reader.read().error().kind, ErrorKind::Connection);
}

TEST(FrameIo, ALargePayloadAfterASmallOneAndBack)
{
    MemoryChannel channel;
    FrameWriter writer(channel);
    for (const size_t size : {size_t{1}, size_t{max_device_payload}, size_t{3}})
        ASSERT_TRUE(
            writer.write(FrameType::DeviceData, Bytes(size, static_cast<std::byte>(size & 0xff))));
    channel.in = channel.out;
    FrameReader reader(channel);
    for (const size_t size : {size_t{1}, size_t{max_device_payload}, size_t{3}}) {
        const auto frame = reader.read();
        ASSERT_TRUE(frame);
        EXPECT_EQ(Bytes((*frame)->payload.begin(), (*frame)->payload.end()),
                  Bytes(size, static_cast<std::byte>(size & 0xff)));
    }
}

TEST(FrameIo, PreambleBothWays)
{
    MemoryChannel channel;
    ASSERT_TRUE(FrameWriter(channel).write_preamble(ConnectionRole::Ask));
    channel.in = channel.out;
    EXPECT_EQ(FrameReader(channel).read_preamble(), ConnectionRole::Ask);
    MemoryChannel web(bytes_of("GET / HTTP/1.1\r\n"));
    EXPECT_FALSE(FrameReader(web).read_preamble());
    MemoryChannel nobody;
    EXPECT_EQ(FrameReader(nobody).read_preamble().error().kind, ErrorKind::Connection);
}

TEST(FrameIo, EachTruncationIsNoticed)
{
    const Bytes stream = example_stream();
    Error error;
    for (size_t size = 0; size <= stream.size(); ++size) {
        const size_t frames =
            readable_frames({stream.begin(), stream.begin() + ptrdiff_t(size)}, error);
        const size_t whole =
            size_t{size >= 40} + (size >= 40 + 32 + 32 + 4096) + (size >= stream.size());
        ASSERT_EQ(frames, whole) << size;
        ASSERT_EQ(error.kind, ErrorKind::Connection);
    }
}

TEST(FrameIo, EachFlippedBitIsNoticed)
{
    const Bytes stream = example_stream();
    Error error;
    for (size_t bit = 0; bit < stream.size() * 8; bit += bit < 1100 ? 1 : 61) {
        ASSERT_LT(readable_frames(with_bit_flipped(stream, bit), error), 3U) << bit;
        ASSERT_EQ(error.kind, ErrorKind::Protocol) << bit;
    }
}

TEST(FrameIo, LostDoubledAndSwappedFramesAreNoticed)
{
    const Bytes stream = example_stream();
    const auto frame = [&](size_t index) {
        const std::array<ptrdiff_t, 4> at = {0, 40, 40 + 32 + 32 + 4096, ptrdiff_t(stream.size())};
        return Bytes(stream.begin() + at[index], stream.begin() + at[index + 1]);
    };
    Error error;
    for (const Bytes& forged : {joined({frame(1), frame(2)}), joined({frame(0), frame(2)}),
                                joined({frame(0), frame(0)}), joined({frame(2), frame(0)})}) {
        EXPECT_LE(readable_frames(forged, error), 1U);
        EXPECT_EQ(error.kind, ErrorKind::Protocol);
        EXPECT_NE(error.message.find("was due"), std::string::npos) << error.message;
    }
}

TEST(FrameIo, TheWriterKeepsToTheCaps)
{
    MemoryChannel channel;
    FrameWriter writer(channel);
    const auto refused = writer.write(FrameType::Commit, encode_u32(1));
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().kind, ErrorKind::Invalid);
    EXPECT_FALSE(writer.write(FrameType::DeviceData, Bytes(max_device_payload + 1)));
    EXPECT_TRUE(channel.out.empty());
    // What was refused does not count.
    ASSERT_TRUE(writer.write(FrameType::Commit, std::span<const std::byte>{}));
    channel.in = channel.out;
    EXPECT_TRUE(FrameReader(channel).read());
}

TEST(FrameIo, ManyPieces)
{
    MemoryChannel channel;
    FrameWriter writer(channel);
    Bytes all(1000);
    for (size_t i = 0; i < all.size(); ++i)
        all[i] = static_cast<std::byte>(i);
    std::vector<std::span<const std::byte>> pieces;
    for (size_t i = 0; i < all.size(); ++i)
        pieces.push_back(std::span(all).subspan(i, 1));
    ASSERT_TRUE(writer.write(FrameType::DeviceData, pieces));
    channel.in = channel.out;
    FrameReader reader(channel);
    const auto frame = reader.read();
    ASSERT_TRUE(frame) << frame.error().text();
    EXPECT_EQ(Bytes((*frame)->payload.begin(), (*frame)->payload.end()), all);
}

} // namespace
} // namespace drover::stream
