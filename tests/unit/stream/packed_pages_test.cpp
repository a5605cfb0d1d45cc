// SPDX-License-Identifier: GPL-2.0-or-later
// Pages that are not sent as they are: repeated words, LZ4, zstd, deltas.
#include "bytes.h"
#include "migration/stream/page_codec.h"
#include "migration/stream/page_delta.h"

#include <gtest/gtest.h>
#include <random>

namespace drover::stream {
namespace {

using enum PageEncoding;

constexpr size_t page = 4096;

/// Of each 64 bytes 16 are random: half and less is what a compressor makes of it.
Bytes compressible(size_t pages, uint64_t seed)
{
    std::mt19937_64 random(seed);
    Bytes bytes(pages * page, std::byte{7});
    for (size_t at = 0; at < bytes.size(); at += 64)
        for (size_t i = 0; i < 16; ++i)
            bytes[at + i] = static_cast<std::byte>(random());
    return bytes;
}

Bytes incompressible(size_t pages)
{
    std::mt19937_64 random(1);
    Bytes bytes(pages * page);
    for (std::byte& byte : bytes)
        byte = static_cast<std::byte>(random());
    return bytes;
}

void append(Bytes& to, std::span<const std::byte> bytes)
{
    to.insert(to.end(), bytes.begin(), bytes.end());
}

Bytes frame(const std::vector<PageRun>& runs, std::span<const std::byte> data)
{
    Bytes payload;
    encode_pages_table({0, 1, page, runs}, payload);
    append(payload, data);
    return payload;
}

void expect_refused(const Bytes& payload, std::string_view word)
{
    const auto view = decode_pages(payload, all_encodings);
    ASSERT_FALSE(view) << word;
    EXPECT_EQ(view.error().kind, ErrorKind::Protocol);
    EXPECT_NE(view.error().message.find(word), std::string::npos) << view.error().message;
}

void expect_not_unpacked(const Bytes& payload)
{
    const auto view = decode_pages(payload, all_encodings);
    ASSERT_TRUE(view) << view.error().text();
    PageUnpacker unpacker;
    const auto runs = unpacker.unpack(*view);
    ASSERT_FALSE(runs);
    EXPECT_EQ(runs.error().kind, ErrorKind::Protocol);
    EXPECT_NE(runs.error().message.find("does not hold the pages"), std::string::npos);
}

/// One page in each encoding, two where they are packed together; and what they were.
struct Mixed {
    Mixed()
    {
        runs = {{0, 1, Raw}, {1, 1, Repeated}, {2, 1, Lz4},   {3, 1, Zstd}, {4, 1, Zero},
                {5, 1, Lz4}, {6, 1, Zstd},     {7, 1, Delta}, {9, 1, Delta}};
        append(data, raw);
        append(data, hex("01 02 03 04 05 06 07 08"));
        append(data, packer.pack_lz4(lz4));
        append(data, packer.pack_zstd(zstd, 3));
        append_delta(newer.data(), 0x8000000000000001, data);
        append_delta(newer.data(), 2, data);
    }
    Bytes raw = incompressible(1), lz4 = compressible(2, 2), zstd = compressible(2, 3);
    Bytes newer = compressible(1, 4);
    PagePacker packer;
    std::vector<PageRun> runs;
    Bytes data;
};

bool same(std::span<const std::byte> a, std::span<const std::byte> b)
{
    return std::ranges::equal(a, b);
}

TEST(PackedPages, AllEncodingsInOneFrame)
{
    const Mixed mixed;
    const Bytes payload = frame(mixed.runs, mixed.data);
    const auto view = decode_pages(payload, all_encodings);
    ASSERT_TRUE(view) << view.error().text();
    PageUnpacker unpacker;
    const auto runs = unpacker.unpack(*view);
    ASSERT_TRUE(runs) << runs.error().text();
    ASSERT_EQ(runs->size(), mixed.runs.size());
    EXPECT_TRUE(same((*runs)[0].bytes, mixed.raw));
    EXPECT_TRUE(same((*runs)[1].bytes, hex("01 02 03 04 05 06 07 08")));
    EXPECT_TRUE(same((*runs)[2].bytes, std::span(mixed.lz4).first(page)));
    EXPECT_TRUE(same((*runs)[3].bytes, std::span(mixed.zstd).first(page)));
    EXPECT_TRUE((*runs)[4].bytes.empty());
    EXPECT_TRUE(same((*runs)[5].bytes, std::span(mixed.lz4).last(page)));
    EXPECT_TRUE(same((*runs)[6].bytes, std::span(mixed.zstd).last(page)));
    EXPECT_EQ((*runs)[7].bytes.size(), 12U + 128);
    EXPECT_EQ((*runs)[8].bytes.size(), 12U + 64);
}

TEST(PackedPages, NoPrefixDecodes)
{
    const Mixed mixed;
    const Bytes payload = frame(mixed.runs, mixed.data);
    for (size_t size = 0; size < payload.size(); ++size)
        ASSERT_FALSE(decode_pages(std::span(payload).first(size), all_encodings)) << size;
    Bytes longer = payload;
    longer.push_back({});
    expect_refused(longer, "more data than");
}

/// What goes over the wire, byte for byte: a word, an LZ4 block, a zstd frame, a delta of line 1.
constexpr std::string_view golden =
    "00 00 00 00  01 00 00 00  00 10 00 00  04 00 00 00"
    "03 00 00 00 00 00 00 00  01 00 00 00  03 00 00 00"
    "04 00 00 00 00 00 00 00  01 00 00 00  04 00 00 00"
    "05 00 00 00 00 00 00 00  01 00 00 00  05 00 00 00"
    "06 00 00 00 00 00 00 00  01 00 00 00  06 00 00 00"
    "01 02 03 04 05 06 07 08"
    "1a 00 00 00"
    "1f aa 01 00 ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff f6 50 aa aa aa aa aa"
    "13 00 00 00"
    "28 b5 2f fd 60 00 0f 4d 00 00 10 aa aa 01 00 fb f7 01 16"
    "02 00 00 00 00 00 00 00  8a 5f f7 5a";

TEST(PackedPages, GoldenBytes)
{
    Bytes payload = hex(golden);
    payload.resize(payload.size() + 64, std::byte{0xee});
    const auto view = decode_pages(payload, all_encodings);
    ASSERT_TRUE(view) << view.error().text();
    PageUnpacker unpacker;
    const auto runs = unpacker.unpack(*view);
    ASSERT_TRUE(runs) << runs.error().text();
    EXPECT_EQ(to_hex((*runs)[0].bytes), "01 02 03 04 05 06 07 08");
    EXPECT_TRUE(same((*runs)[1].bytes, Bytes(page, std::byte{0xaa})));
    EXPECT_TRUE(same((*runs)[2].bytes, Bytes(page, std::byte{0xaa})));
    Bytes changed(page);
    EXPECT_TRUE(apply_delta((*runs)[3].bytes, changed.data()));
    EXPECT_EQ(changed[63], std::byte{0});
    EXPECT_EQ(changed[64], std::byte{0xee});

    Bytes table;
    encode_pages_table(view->table, table);
    EXPECT_TRUE(same(table, std::span(payload).first(table.size())));
    Bytes delta;
    append_delta(changed.data(), 2, delta);
    EXPECT_TRUE(same(delta, (*runs)[3].bytes));
}

TEST(PackedPages, NothingThatWasNotAgreedOn)
{
    const Mixed mixed;
    const Bytes payload = frame(mixed.runs, mixed.data);
    EXPECT_FALSE(decode_pages(payload)) << "the plain ones are what a peer may always send";
    for (const PageEncoding encoding : {Repeated, Lz4, Zstd, Delta}) {
        EncodingSet allowed = all_encodings;
        allowed.remove(encoding);
        const auto view = decode_pages(payload, allowed);
        ASSERT_FALSE(view);
        EXPECT_NE(view.error().message.find(to_string(encoding)), std::string::npos);
    }
}

TEST(PackedPages, SizesOfPackedPages)
{
    Bytes payload;
    encode_pages_table({0, 1, 2 << 20, {{0, 1, Repeated}}}, payload);
    append(payload, hex("01 02 03 04 05 06 07 08"));
    expect_refused(payload, "packed pages of 2097152");
}

TEST(PackedPages, NothingUnpacksToMoreThanAFrameMayHold)
{
    const Bytes words(8 * 1025, std::byte{1});
    EXPECT_TRUE(decode_pages(frame({{0, 1024, Repeated}}, std::span(words).first(8 * 1024)),
                             all_encodings));
    expect_refused(frame({{0, 1025, Repeated}}, words), "unpacks to more");
    for (const PageEncoding encoding : {Lz4, Zstd, Delta}) {
        expect_refused(frame({{0, 1025, encoding}}, words), "unpacks to more");
        expect_refused(frame({{0, 0xffffffff, encoding}}, words), "unpacks to more");
    }
    expect_refused(frame({{0, 512, Lz4}, {512, 513, Zstd}}, words), "unpacks to more");
}

TEST(PackedPages, SizesOfBlocks)
{
    for (const PageEncoding encoding : {Lz4, Zstd}) {
        expect_refused(frame({{0, 1, encoding}}, {}), "less data");
        expect_refused(frame({{0, 1, encoding}}, hex("00 00 00 00")), "nothing was compressed");
        expect_refused(frame({{0, 1, encoding}}, hex("00 10 00 00")), "nothing was compressed");
        expect_refused(frame({{0, 1, encoding}}, hex("ff ff ff ff")), "nothing was compressed");
        expect_refused(frame({{0, 1, encoding}}, hex("ff 0f 00 00 01")), "less data");
    }
}

TEST(PackedPages, BlocksMustHoldJustTheirPages)
{
    PagePacker packer;
    const Bytes three = compressible(3, 5);
    for (const uint32_t count : {2U, 4U}) {
        Bytes lz4, zstd;
        append(lz4, packer.pack_lz4(three));
        append(zstd, packer.pack_zstd(three, 1));
        expect_not_unpacked(frame({{0, count, Lz4}}, lz4));
        expect_not_unpacked(frame({{0, count, Zstd}}, zstd));
    }
    expect_not_unpacked(frame({{0, 1, Lz4}}, hex("03 00 00 00 ff ff ff")));
    expect_not_unpacked(frame({{0, 1, Zstd}}, hex("03 00 00 00 ff ff ff")));
}

TEST(PackedPages, DamagedBlocksAreNeverReadPastTheirEnd)
{
    PagePacker packer;
    PageUnpacker unpacker;
    const Bytes pages = compressible(2, 6);
    for (const PageEncoding encoding : {Lz4, Zstd}) {
        Bytes data;
        append(data, encoding == Lz4 ? packer.pack_lz4(pages) : packer.pack_zstd(pages, 1));
        for (size_t at = 4; at < data.size(); ++at) {
            Bytes damaged = data;
            damaged[at] ^= std::byte{0x55};
            const Bytes payload = frame({{0, 2, encoding}}, damaged);
            const auto view = decode_pages(payload, all_encodings);
            ASSERT_TRUE(view);
            if (const auto runs = unpacker.unpack(*view)) {
                EXPECT_EQ((*runs)[0].bytes.size(), pages.size());
            }
        }
    }
}

TEST(PackedPages, WhatDoesNotGetSmallerIsNotPacked)
{
    PagePacker packer;
    const Bytes pages = incompressible(8);
    EXPECT_TRUE(packer.pack_lz4(pages).empty());
    EXPECT_TRUE(packer.pack_zstd(pages, 3).empty());
    const Bytes good = compressible(8, 7);
    EXPECT_LT(packer.pack_lz4(good).size(), good.size() / 2);
    EXPECT_LT(packer.pack_zstd(good, 3).size(), good.size() / 2);
}

TEST(PageDelta, MakesTheNewVersionOutOfTheOld)
{
    const Bytes older = compressible(1, 8);
    for (const uint64_t mask : {1ULL, 1ULL << 63, 0x00ff00000000ff00ULL, ~0ULL}) {
        Bytes newer = older;
        for (size_t line = 0; line < 64; ++line)
            if (mask >> line & 1)
                newer[line * 64 + line] ^= std::byte{1};
        Bytes record;
        append_delta(newer.data(), mask, record);
        EXPECT_EQ(record.size(), delta_size(mask));
        EXPECT_EQ(delta_record_size(record), record.size());
        for (size_t size = 0; size < record.size(); ++size)
            ASSERT_EQ(delta_record_size(std::span(record).first(size)), 0U) << size;
        Bytes made = older;
        EXPECT_TRUE(apply_delta(record, made.data()));
        EXPECT_EQ(made, newer);
        Bytes other = older;
        other[5] ^= static_cast<std::byte>(mask == ~0ULL ? 0 : 4);
        other[mask == 1 ? 4000 : 64 * 20] ^= std::byte{4};
        EXPECT_EQ(apply_delta(record, other.data()), mask == ~0ULL)
            << "of another version than the sender reckoned with";
    }
}

TEST(PageDelta, OfNothingIsNone)
{
    EXPECT_EQ(delta_record_size(hex("00 00 00 00 00 00 00 00  01 02 03 04")), 0U);
}

} // namespace
} // namespace drover::stream
