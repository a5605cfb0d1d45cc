// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/ram/hole_finder.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

namespace drover {
namespace {

constexpr uint64_t pages = 1300;
constexpr uint64_t stripe = 512;

/// A block with data in all pages but [200, 300).
class HoleFinderTest : public ::testing::Test {
protected:
    HoleFinderTest()
    {
        ram_.push_back({"ram", pages * ram_page_size, ram_page_size,
                        UniqueFd(memfd_create("ram", MFD_CLOEXEC))});
        EXPECT_EQ(ftruncate(ram_[0].file.get(), static_cast<off_t>(ram_[0].size)), 0);
        fill(0, pages);
        punch(200, 100);
        holes_ = std::make_unique<HoleFinder>(ram_);
        EXPECT_TRUE(holes_->first_look(0, [](uint64_t, uint64_t) {}));
    }

    void fill(uint64_t first, uint64_t count)
    {
        const std::vector<std::byte> data(count * ram_page_size, std::byte{7});
        EXPECT_TRUE(write_ram(ram_[0], first * ram_page_size, data));
    }
    void punch(uint64_t first, uint64_t count)
    {
        EXPECT_TRUE(discard_ram(ram_[0], first * ram_page_size, count * ram_page_size));
    }
    bool has_changed() { return holes_->has_changed(0).value_or(false); }
    void look_at_all()
    {
        for (uint64_t first = 0; first < pages; first += stripe)
            holes_->look(0, first, std::min(first + stripe, pages));
    }
    void wrote(uint64_t first, uint64_t count)
    {
        fill(first, count);
        PageBitmap written(pages);
        written.set_range(first, count);
        holes_->note_written(0, written, 0, pages);
    }
    void expect_right()
    {
        PageBitmap right(pages);
        EXPECT_TRUE(for_each_data(ram_[0], 0, pages, [&](uint64_t first, uint64_t count) {
            right.set_range(first, count);
        }));
        for (uint64_t page = 0; page < pages; ++page)
            ASSERT_EQ(holes_->data(0).test(page), right.test(page)) << page;
    }

    std::vector<RamBlock> ram_;
    std::unique_ptr<HoleFinder> holes_;
};

TEST_F(HoleFinderTest, FirstLookFindsAll)
{
    expect_right();
    EXPECT_FALSE(has_changed());
}

TEST_F(HoleFinderTest, WritesAreNoChange)
{
    wrote(220, 10);
    wrote(5, 100);
    EXPECT_FALSE(has_changed());
    EXPECT_EQ(holes_->data(0).count(), pages - 90);
}

TEST_F(HoleFinderTest, NewHolesAreFoundWhereverTheyAre)
{
    punch(0, 1);
    punch(3, 2);
    punch(511, 2);
    punch(pages - 1, 1);
    ASSERT_TRUE(has_changed());
    look_at_all();
    expect_right();
    EXPECT_FALSE(has_changed()) << "it is known now";
}

TEST_F(HoleFinderTest, WhatWasFilledUnseenIsFoundToo)
{
    fill(250, 3); // as by a guest that only read there
    ASSERT_TRUE(has_changed());
    look_at_all();
    expect_right();
    EXPECT_FALSE(has_changed());
}

TEST_F(HoleFinderTest, ALookThatWasCutOffIsMadeAgain)
{
    punch(1000, 50);
    ASSERT_TRUE(has_changed());
    holes_->look(0, 0, stripe); // and then the guest was paused
    ASSERT_TRUE(has_changed());
    look_at_all();
    expect_right();
    EXPECT_FALSE(has_changed());
}

TEST_F(HoleFinderTest, WritesAmongTheHolesDoNotHideThem)
{
    wrote(250, 10);
    punch(400, 10); // as many
    ASSERT_TRUE(has_changed());
    look_at_all();
    expect_right();
}

TEST(HeldPages, AreCountedRangeByRange)
{
    const RamBlock block{"ram", 64 * ram_page_size, ram_page_size,
                         UniqueFd(memfd_create("ram", MFD_CLOEXEC))};
    ASSERT_EQ(ftruncate(block.file.get(), static_cast<off_t>(block.size)), 0);
    const std::vector<std::byte> data(10 * ram_page_size);
    ASSERT_TRUE(write_ram(block, 20 * ram_page_size, data));
    EXPECT_EQ(held_pages(block).value_or(0), 10U);
    if (!can_count_held_pages(block))
        GTEST_SKIP() << "this kernel has no cachestat";
    EXPECT_EQ(count_held_pages(block, 0, 64), 10U);
    EXPECT_EQ(count_held_pages(block, 0, 20), 0U);
    EXPECT_EQ(count_held_pages(block, 25, 28), 3U);
    EXPECT_EQ(count_held_pages(block, 29, 64), 1U);
    EXPECT_EQ(count_held_pages(block, 30, 64), 0U);
}

} // namespace
} // namespace drover
