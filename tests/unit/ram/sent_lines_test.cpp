// SPDX-License-Identifier: GPL-2.0-or-later
#include "../session/fake_ram.h"
#include "migration/ram/sent_lines.h"

#include <gtest/gtest.h>

namespace drover {
namespace {

constexpr size_t a_page = 1024;    // bytes, of what is kept of one at most
constexpr size_t plenty = 4 << 20; // bytes

SentLines make(size_t bytes = plenty, size_t channels = 1)
{
    const std::vector<uint64_t> pages{2000, 700};
    auto lines = SentLines::create(pages, channels, bytes);
    EXPECT_TRUE(lines);
    return std::move(*lines);
}

TEST(SentLines, TellWhatHasChanged)
{
    SentLines lines = make();
    std::vector<std::byte> page = testing::page_content(1);
    EXPECT_FALSE(lines.note(0, 7, page.data(), 1)) << "nothing is known of it yet";
    EXPECT_EQ(lines.note(0, 7, page.data(), 2), 0U);
    page[0] ^= std::byte{1};
    page[4095] ^= std::byte{1};
    page[64 * 20 + 3] ^= std::byte{1};
    constexpr uint64_t changed = 1 | 1ULL << 20 | 1ULL << 63;
    EXPECT_EQ(lines.compare(0, 7, page.data()), changed);
    EXPECT_EQ(lines.note(0, 7, page.data(), 3), changed);
    EXPECT_EQ(lines.note(0, 7, page.data(), 4), 0U) << "against the latest version";
}

TEST(SentLines, EachPageIsItsOwn)
{
    SentLines lines = make();
    const auto one = testing::page_content(1);
    const auto other = testing::page_content(2);
    EXPECT_FALSE(lines.note(0, 600, one.data(), 1));
    EXPECT_FALSE(lines.note(1, 600, other.data(), 1));
    EXPECT_FALSE(lines.note(0, 601, other.data(), 1));
    EXPECT_EQ(lines.note(0, 600, one.data(), 1), 0U);
    EXPECT_EQ(lines.note(1, 600, other.data(), 1), 0U);
    lines.forget(0, 600);
    EXPECT_FALSE(lines.compare(0, 600, one.data()));
    EXPECT_TRUE(lines.compare(1, 600, other.data()));
    lines.forget_all();
    EXPECT_FALSE(lines.compare(1, 600, other.data()));
    EXPECT_FALSE(lines.note(0, 600, one.data(), 1));
}

TEST(SentLines, AllPagesOfAChannelFitWhereThereIsRoom)
{
    SentLines lines = make(plenty, 2);
    const auto page = testing::page_content(1);
    for (int round = 1; round <= 2; ++round)
        for (uint64_t at = 512; at < 2000; at += at % 512 == 511 ? 513 : 1)
            EXPECT_EQ(lines.note(0, at, page.data(), 1).has_value(), round == 2) << at;
}

TEST(SentLines, PagesThatAreSentAgainAndAgainStay)
{
    SentLines lines = make(3 * a_page); // fewer than six
    const auto page = testing::page_content(1);
    unsigned known = 0;
    for (uint32_t round = 1; round <= 3; ++round)
        for (uint64_t at = 0; at < 100; ++at)
            known += lines.note(0, at, page.data(), round).has_value();
    EXPECT_EQ(known, 2 * lines.bytes() / 528) << "and do not drive one another out";
    EXPECT_FALSE(lines.note(0, 1000, page.data(), 4)) << "its place is taken";
    EXPECT_FALSE(lines.note(0, 1000, page.data(), 9)) << "by one that was not sent for long";
    EXPECT_TRUE(lines.note(0, 1000, page.data(), 10));
}

TEST(SentLines, AreBounded)
{
    EXPECT_LE(make(10 * a_page).bytes(), 10 * a_page);
    EXPECT_GT(make(0).bytes(), 0U) << "there is always one";
    EXPECT_LT(make(1U << 30).bytes(), 4U << 20) << "no more than there are pages";
}

} // namespace
} // namespace drover
