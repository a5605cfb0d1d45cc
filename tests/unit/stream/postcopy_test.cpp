// SPDX-License-Identifier: GPL-2.0-or-later
#include "bytes.h"
#include "migration/stream/postcopy.h"

#include <gtest/gtest.h>

namespace drover::stream {
namespace {

constexpr const char* one_stripe = "02 00 00 00  00 00 00 00"
                                   "00 04 00 00 00 00 00 00"
                                   "01 00 00 00 00 00 00 80  00 00 00 00 00 00 00 00"
                                   "00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00"
                                   "00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00"
                                   "00 00 00 00 00 00 00 00  02 00 00 00 00 00 00 00";

TEST(Postcopy, MissingGoldenBytes)
{
    const MissingPages missing{2, {{1024, {0x8000000000000001, 0, 0, 0, 0, 0, 0, 2}}}};
    EXPECT_EQ(to_hex(encode(missing)), to_hex(hex(one_stripe)));
    EXPECT_EQ(decode_missing(hex(one_stripe)), missing);
}

TEST(Postcopy, MissingRefusesWhatIsOutOfPlace)
{
    const Bytes good = hex(one_stripe);
    for (size_t size = 0; size < good.size(); ++size)
        EXPECT_FALSE(decode_missing(std::span(good).first(size))) << size;
    const auto changed = [&](size_t at, unsigned value) {
        Bytes bytes = good;
        bytes[at] = static_cast<std::byte>(value);
        return decode_missing(bytes);
    };
    EXPECT_FALSE(changed(4, 1)) << "reserved";
    EXPECT_FALSE(changed(8, 1)) << "not a stripe's first page";
    const auto stripes = [](uint64_t first, uint64_t second, uint64_t word) {
        return decode_missing(encode(MissingPages{0, {{first, {1}}, {second, {word}}}}));
    };
    EXPECT_TRUE(stripes(0, 512, 1));
    EXPECT_FALSE(stripes(512, 512, 1)) << "twice";
    EXPECT_FALSE(stripes(1024, 512, 1)) << "descending";
    EXPECT_FALSE(stripes(0, 512, 0)) << "nothing is missing of it";
}

TEST(Postcopy, PageRequestGoldenBytes)
{
    const Bytes golden = hex("01 00 00 00  10 00 00 00  39 30 00 00 00 00 00 00");
    EXPECT_EQ(to_hex(encode(PageRequest{1, 16, 12345})), to_hex(golden));
    EXPECT_EQ(decode_page_request(golden), (PageRequest{1, 16, 12345}));
    EXPECT_FALSE(decode_page_request(std::span(golden).first(15)));
    EXPECT_FALSE(decode_page_request(encode(PageRequest{1, 0, 5})));
    EXPECT_TRUE(decode_page_request(encode(PageRequest{1, 512, 5})));
    EXPECT_FALSE(decode_page_request(encode(PageRequest{1, 513, 5})));
}

} // namespace
} // namespace drover::stream
