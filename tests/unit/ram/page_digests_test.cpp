// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/ram/page_digests.h"
#include "migration/ram/ram_block.h"

#include <array>
#include <gtest/gtest.h>

namespace drover {
namespace {

using Page = std::array<std::byte, ram_page_size>;

Page page_of(uint8_t value)
{
    Page page;
    page.fill(static_cast<std::byte>(value));
    return page;
}

PageDigests make()
{
    std::array<RamBlock, 2> ram;
    for (RamBlock& block : ram)
        block.size = 8 * ram_page_size;
    auto digests = PageDigests::create(ram);
    EXPECT_TRUE(digests);
    return std::move(*digests);
}

TEST(PageDigests, TheSameRamHasTheSameSumHoweverItCameAbout)
{
    PageDigests here = make(), there = make();
    uint64_t sum = here.note(0, 1, page_of(1).data());
    sum += here.note(1, 7, page_of(2).data());
    sum += here.note(0, 1, page_of(3).data());
    uint64_t other = there.note(1, 7, page_of(9).data());
    other += there.note(0, 1, page_of(3).data());
    EXPECT_NE(sum, other);
    other += there.note(1, 7, page_of(2).data());
    EXPECT_EQ(sum, other);
    EXPECT_EQ(sum + here.note_zero(0, 1) + here.note(1, 7, page_of(0).data()), 0U)
        << "zeros add nothing";
}

TEST(PageDigests, PagesThatChangedPlacesShow)
{
    PageDigests here = make(), there = make();
    const uint64_t sum = here.note(0, 1, page_of(1).data()) + here.note(0, 2, page_of(2).data());
    EXPECT_NE(sum, there.note(0, 2, page_of(1).data()) + there.note(0, 1, page_of(2).data()));
    PageDigests third = make();
    EXPECT_NE(sum, third.note(1, 1, page_of(1).data()) + third.note(1, 2, page_of(2).data()));
}

/// docs/stream-format.md: two Drovers of different releases compare it.
TEST(PageDigests, ValuesAreFrozen)
{
    PageDigests digests = make();
    EXPECT_EQ(digests.note(1, 5, page_of(0x5a).data()), 0xf075eacc22c94005ULL);
    EXPECT_TRUE(digests.is_same(1, 5, page_of(0x5a).data()));
    EXPECT_FALSE(digests.is_same(1, 5, page_of(0x5b).data()));
    EXPECT_TRUE(digests.is_same(1, 6, page_of(0).data()));
}

} // namespace
} // namespace drover
