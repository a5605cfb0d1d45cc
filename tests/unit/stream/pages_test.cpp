// SPDX-License-Identifier: GPL-2.0-or-later
#include "bytes.h"
#include "migration/stream/messages.h"

#include <gtest/gtest.h>

namespace drover::stream {
namespace {

constexpr std::string_view golden_table = "02 00 00 00"             // block
                                          "03 00 00 00"             // round
                                          "00 10 00 00"             // page size
                                          "03 00 00 00"             // runs
                                          "05 00 00 00 00 00 00 00" // first page
                                          "01 00 00 00"             // pages
                                          "00 00 00 00"             // raw, reserved
                                          "06 00 00 00 00 00 00 00"
                                          "00 01 00 00"
                                          "01 00 00 00" // zero
                                          "00 00 00 00 01 00 00 00"
                                          "ff ff ff ff"
                                          "02 00 00 00"; // hole

PagesTable golden_value()
{
    return {2,
            3,
            4096,
            {{5, 1, PageEncoding::Raw},
             {6, 256, PageEncoding::Zero},
             {0x100000000, 0xffffffff, PageEncoding::Hole}}};
}

/// A frame of the given runs (hexadecimal), page size and bytes of data.
Bytes frame(uint32_t page_size, uint32_t count, std::string_view runs, size_t data)
{
    Bytes bytes = hex("00 00 00 00  01 00 00 00");
    for (const uint32_t number : {page_size, count}) {
        const Bytes part = encode_u32(number);
        bytes.insert(bytes.end(), part.begin(), part.end());
    }
    const Bytes table = hex(runs);
    bytes.insert(bytes.end(), table.begin(), table.end());
    bytes.resize(bytes.size() + data);
    return bytes;
}

void expect_refused(const Bytes& payload, std::string_view word)
{
    const auto decoded = decode_pages(payload);
    ASSERT_FALSE(decoded) << word;
    EXPECT_EQ(decoded.error().kind, ErrorKind::Protocol);
    EXPECT_NE(decoded.error().message.find(word), std::string::npos) << decoded.error().message;
}

constexpr std::string_view raw_5 = "05 00 00 00 00 00 00 00  01 00 00 00  00 00 00 00";
constexpr std::string_view raw_6 = "06 00 00 00 00 00 00 00  01 00 00 00  00 00 00 00";

TEST(Pages, GoldenBytes)
{
    Bytes out = hex("ff ff"); // what was there is dropped
    encode_pages_table(golden_value(), out);
    EXPECT_EQ(to_hex(out), to_hex(hex(golden_table)));

    Bytes payload = out;
    payload.resize(payload.size() + 4096, std::byte{0x5a});
    const auto decoded = decode_pages(payload);
    ASSERT_TRUE(decoded) << decoded.error().text();
    EXPECT_EQ(decoded->table, golden_value());
    EXPECT_EQ(decoded->raw.data(), payload.data() + out.size());
    EXPECT_EQ(decoded->raw.size(), 4096U);
}

TEST(Pages, NoPrefixDecodes)
{
    Bytes payload = hex(golden_table);
    payload.resize(payload.size() + 4096);
    for (size_t size = 0; size < payload.size(); ++size)
        ASSERT_FALSE(decode_pages(std::span(payload).first(size))) << size;
    ASSERT_TRUE(decode_pages(payload));
    payload.push_back({});
    expect_refused(payload, "more data than");
}

TEST(Pages, SizesOfPages)
{
    for (const uint32_t size : {0U, 1U, 4095U, 2048U, 4097U, 12288U, 0x80000000U, 0xffffffffU})
        expect_refused(frame(size, 1, raw_5, 4096), "pages of " + std::to_string(size));
    constexpr std::string_view zero_run = "05 00 00 00 00 00 00 00  01 00 00 00  01 00 00 00";
    for (const uint32_t size : {4096U, 2U << 20, 1U << 30})
        EXPECT_TRUE(decode_pages(frame(size, 1, zero_run, 0))) << size;
    EXPECT_TRUE(decode_pages(frame(2 << 20, 1, raw_5, 2 << 20)));
}

TEST(Pages, CountOfRuns)
{
    expect_refused(frame(4096, 0, "", 4096), "no runs");
    expect_refused(frame(4096, 2, raw_5, 0), "within its table");
    // 16 times this count is 16 modulo 2^32: a product of 32 bits would believe it.
    expect_refused(frame(4096, 0x10000001, raw_5, 4096), "within its table");
    expect_refused(frame(4096, 0xffffffff, raw_5, 4096), "within its table");
}

TEST(Pages, DataMustBeThatOfTheRuns)
{
    const std::string two = std::string(raw_5) + std::string(raw_6);
    EXPECT_TRUE(decode_pages(frame(4096, 2, two, 8192)));
    expect_refused(frame(4096, 2, two, 8191), "less data");
    expect_refused(frame(4096, 2, two, 8193), "more data");
    expect_refused(frame(4096, 1, "00 00 00 00 00 00 00 00  ff ff ff ff  00 00 00 00", 4096),
                   "less data");
    // More bytes than any frame has, without a byte of data.
    std::string many;
    for (int i = 0; i < 4; ++i)
        many += "00 00 00 0" + std::to_string(i) + " 00 00 00 00  00 00 00 01  00 00 00 00";
    expect_refused(frame(1 << 30, 4, many, 0), "less data");
}

TEST(Pages, RunsMustAscendWithoutOverlap)
{
    expect_refused(frame(4096, 2, std::string(raw_5) + std::string(raw_5), 8192), "overlap");
    expect_refused(frame(4096, 2, std::string(raw_6) + std::string(raw_5), 8192), "ascending");
    constexpr std::string_view zeros_0_to_6 = "00 00 00 00 00 00 00 00  06 00 00 00  01 00 00 00";
    expect_refused(frame(4096, 2, std::string(zeros_0_to_6) + std::string(raw_5), 4096), "overlap");
    EXPECT_TRUE(decode_pages(frame(4096, 2, std::string(zeros_0_to_6) + std::string(raw_6), 4096)));
}

TEST(Pages, ForgedRuns)
{
    expect_refused(frame(4096, 1, "05 00 00 00 00 00 00 00  00 00 00 00  00 00 00 00", 0),
                   "no pages");
    expect_refused(frame(4096, 1, "05 00 00 00 00 00 00 00  01 00 00 00  03 00 00 00", 8),
                   "encoding repeated, which was not agreed on");
    expect_refused(frame(4096, 1, "05 00 00 00 00 00 00 00  01 00 00 00  07 00 00 00", 0),
                   "unknown encoding 7");
    expect_refused(frame(4096, 1, "05 00 00 00 00 00 00 00  01 00 00 00  ff 00 00 00", 0),
                   "unknown encoding 255");
    for (const char* reserved : {"01 01 00 00", "01 00 01 00", "01 00 00 80"})
        expect_refused(
            frame(4096, 1, std::string("05 00 00 00 00 00 00 00  01 00 00 00") + reserved, 0),
            "reserved");
    expect_refused(frame(4096, 1, "ff ff ff ff ff ff ff ff  01 00 00 00  01 00 00 00", 0),
                   "beyond any address");
    expect_refused(frame(4096, 1, "fe ff ff ff ff ff 0f 00  02 00 00 00  01 00 00 00", 0),
                   "beyond any address");
    EXPECT_TRUE(
        decode_pages(frame(4096, 1, "fe ff ff ff ff ff 0f 00  01 00 00 00  01 00 00 00", 0)));
}

} // namespace
} // namespace drover::stream
