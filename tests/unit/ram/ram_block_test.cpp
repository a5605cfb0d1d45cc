// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/ram/ram_block.h"

#include "small_tmpfs.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace drover {
namespace {

using Bytes = std::vector<std::byte>;
using Stretches = std::vector<std::pair<uint64_t, uint64_t>>;

RamBlock memfd_block(uint64_t pages)
{
    RamBlock block{"ram", pages * ram_page_size, ram_page_size,
                   UniqueFd(memfd_create("ram", MFD_CLOEXEC))};
    EXPECT_EQ(ftruncate(block.file.get(), static_cast<off_t>(block.size)), 0);
    return block;
}

uint64_t pages_used(const RamBlock& block)
{
    struct stat file {};
    EXPECT_EQ(fstat(block.file.get(), &file), 0);
    return static_cast<uint64_t>(file.st_blocks) * 512 / ram_page_size;
}

Bytes filled(uint64_t pages, int value)
{
    return Bytes(pages * ram_page_size, static_cast<std::byte>(value));
}

Stretches data_of(const RamBlock& block, uint64_t first, uint64_t end)
{
    Stretches found;
    EXPECT_TRUE(for_each_data(block, first, end, [&](uint64_t page, uint64_t count) {
        found.emplace_back(page, count);
    }));
    return found;
}

TEST(RamBlock, WhatIsWrittenIsRead)
{
    const RamBlock block = memfd_block(16);
    const Bytes content = filled(3, 7);
    ASSERT_TRUE(write_ram(block, 5 * ram_page_size, content));
    Bytes got(content.size());
    ASSERT_TRUE(read_ram(block, 5 * ram_page_size, got));
    EXPECT_TRUE(got == content);
    EXPECT_EQ(pages_used(block), 3U);
}

TEST(RamBlock, ReadingAHoleGivesZerosAndUsesNoMemory)
{
    const RamBlock block = memfd_block(64);
    Bytes got = filled(64, 1);
    ASSERT_TRUE(read_ram(block, 0, got));
    EXPECT_TRUE(got == filled(64, 0));
    EXPECT_EQ(pages_used(block), 0U);
}

TEST(RamBlock, LookingForDataUsesNoMemory)
{
    const RamBlock block = memfd_block(64);
    EXPECT_TRUE(data_of(block, 0, 64).empty());
    EXPECT_EQ(pages_used(block), 0U);
    ASSERT_TRUE(write_ram(block, 0, filled(1, 1)));
    ASSERT_TRUE(write_ram(block, 10 * ram_page_size, filled(5, 0))); // zeros are data too
    ASSERT_TRUE(write_ram(block, 63 * ram_page_size, filled(1, 1)));
    EXPECT_EQ(data_of(block, 0, 64), (Stretches{{0, 1}, {10, 5}, {63, 1}}));
    EXPECT_EQ(pages_used(block), 7U);
}

TEST(RamBlock, DataIsCutToTheRangeThatIsLookedAt)
{
    const RamBlock block = memfd_block(64);
    ASSERT_TRUE(write_ram(block, 10 * ram_page_size, filled(20, 1)));
    EXPECT_EQ(data_of(block, 12, 20), (Stretches{{12, 8}}));
    EXPECT_EQ(data_of(block, 0, 11), (Stretches{{10, 1}}));
    EXPECT_EQ(data_of(block, 29, 64), (Stretches{{29, 1}}));
    EXPECT_TRUE(data_of(block, 30, 64).empty());
    EXPECT_TRUE(data_of(block, 0, 10).empty());
    EXPECT_TRUE(data_of(block, 15, 15).empty());
}

TEST(RamBlock, WhatIsDiscardedIsZeroAndGivenBack)
{
    const RamBlock block = memfd_block(16);
    ASSERT_TRUE(write_ram(block, 0, filled(16, 3)));
    ASSERT_TRUE(discard_ram(block, 4 * ram_page_size, 8 * ram_page_size));
    EXPECT_EQ(pages_used(block), 8U);
    EXPECT_EQ(data_of(block, 0, 16), (Stretches{{0, 4}, {12, 4}}));
    Bytes got(8 * ram_page_size);
    ASSERT_TRUE(read_ram(block, 4 * ram_page_size, got));
    EXPECT_TRUE(got == filled(8, 0));
    struct stat file {};
    ASSERT_EQ(fstat(block.file.get(), &file), 0);
    EXPECT_EQ(uint64_t(file.st_size), block.size);
}

TEST(RamBlock, PartOfAHugePageIsZeroedInstead)
{
    RamBlock block = memfd_block(16);
    block.backing_page = 8 * ram_page_size; // as if; the file itself does not mind
    ASSERT_TRUE(write_ram(block, 0, filled(16, 3)));
    ASSERT_TRUE(discard_ram(block, 2 * ram_page_size, ram_page_size));
    ASSERT_TRUE(discard_ram(block, 8 * ram_page_size, 8 * ram_page_size));
    Bytes got(16 * ram_page_size);
    ASSERT_TRUE(read_ram(block, 0, got));
    Bytes expected = filled(16, 3);
    std::fill_n(expected.begin() + 2 * ram_page_size, ram_page_size, std::byte{0});
    std::fill_n(expected.begin() + 8 * ram_page_size, 8 * ram_page_size, std::byte{0});
    EXPECT_TRUE(got == expected);
}

TEST(RamBlock, ReadingPastTheFilesEndIsAnError)
{
    RamBlock block = memfd_block(4);
    ASSERT_EQ(ftruncate(block.file.get(), 2 * ram_page_size), 0); // somebody cut it
    Bytes got(4 * ram_page_size);
    const Status status = read_ram(block, 0, got);
    ASSERT_FALSE(status);
    EXPECT_NE(status.error().message.find("past the end"), std::string::npos);
}

TEST(RamBlock, ABadDescriptorIsAnErrorThatNamesTheBlock)
{
    const RamBlock block{"pc.ram", ram_page_size, ram_page_size, {}};
    Bytes page(ram_page_size);
    for (const Status& status :
         {read_ram(block, 0, page), write_ram(block, 0, page), discard_ram(block, 0, ram_page_size),
          for_each_data(block, 0, 1, [](uint64_t, uint64_t) {})}) {
        ASSERT_FALSE(status);
        EXPECT_NE(status.error().message.find("pc.ram"), std::string::npos);
    }
}

TEST(RamBlock, AFullFileSystemIsAnErrorWithARemedy)
{
    const testing::SmallTmpfs tmpfs(8 * ram_page_size);
    if (!tmpfs)
        GTEST_SKIP() << tmpfs.why_not();
    RamBlock block{"ram", 64 * ram_page_size, ram_page_size, tmpfs.file("ram")};
    ASSERT_EQ(ftruncate(block.file.get(), static_cast<off_t>(block.size)), 0);
    const Status status = write_ram(block, 0, filled(64, 1));
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().kind, ErrorKind::System);
    EXPECT_NE(status.error().message.find("is full"), std::string::npos);
    EXPECT_NE(status.error().hint.find("enlarge the file system"), std::string::npos);
    // As hugetlbfs is written: by a mapping, where "full" must not become a SIGBUS.
    ASSERT_TRUE(discard_ram(block, 0, block.size));
    block.backing_page = 16 * ram_page_size;
    const Status mapped = write_ram(block, 0, filled(1, 1));
    ASSERT_FALSE(mapped);
    EXPECT_NE(mapped.error().message.find("is full"), std::string::npos);
}

/// What is not the kernel's: each page tells its number.
class Numbers : public RamReader {
public:
    Status read(uint64_t offset, std::span<std::byte> into) const override
    {
        for (size_t i = 0; i < into.size(); ++i)
            into[i] = std::byte((offset + i) / ram_page_size);
        return {};
    }
};

TEST(RamBlock, AReaderTakesTheFilesPlace)
{
    const RamBlock block{
        .name = "ram", .size = 8 * ram_page_size, .reader = std::make_shared<Numbers>()};
    Bytes page(ram_page_size);
    ASSERT_TRUE(read_ram(block, 3 * ram_page_size, page));
    EXPECT_EQ(page.front(), std::byte{3});
    uint64_t data = 0;
    ASSERT_TRUE(for_each_data(block, 2, 8, [&](uint64_t first, uint64_t count) {
        EXPECT_EQ(first, 2U);
        data += count;
    }));
    EXPECT_EQ(data, 6U);
    EXPECT_EQ(held_pages(block), 8U);
    EXPECT_FALSE(can_count_held_pages(block));
}

TEST(ZeroPage, OneByteAnywhereMakesTheDifference)
{
    Bytes page(ram_page_size);
    EXPECT_TRUE(is_zero_page(page.data()));
    for (size_t at = 0; at < page.size(); ++at) {
        page[at] = std::byte(1 << at % 8);
        ASSERT_FALSE(is_zero_page(page.data())) << at;
        page[at] = std::byte{0};
    }
    EXPECT_TRUE(is_zero_page(page.data()));
}

TEST(ZeroPage, LooksAtItsOwnPageOnly)
{
    Bytes pages = filled(3, 0xff);
    std::fill_n(pages.begin() + ram_page_size, ram_page_size, std::byte{0});
    EXPECT_TRUE(is_zero_page(pages.data() + ram_page_size));
}

} // namespace
} // namespace drover
