// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/ram/ram_writer.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/memfd.h>
#include <sys/mman.h>
#include <unistd.h>

namespace drover {
namespace {

constexpr uint64_t pages = 1000;

std::vector<std::byte> filled(uint64_t count, int value)
{
    return std::vector<std::byte>(count * ram_page_size, static_cast<std::byte>(value));
}

class RamWriterTest : public ::testing::Test {
protected:
    explicit RamWriterTest(unsigned flags = 0, uint64_t backing_page = ram_page_size)
    {
        UniqueFd file(memfd_create("ram", MFD_CLOEXEC | flags));
        if (!file)
            return;
        const uint64_t size = (pages * ram_page_size + backing_page - 1) / backing_page;
        EXPECT_EQ(ftruncate(file.get(), static_cast<off_t>(size * backing_page)), 0);
        ram_.push_back({"ram", pages * ram_page_size, backing_page, std::move(file)});
    }
    void put(uint64_t first, uint64_t count, int value)
    {
        ASSERT_TRUE(write_ram(ram_[0], first * ram_page_size, filled(count, value)));
    }
    void expect(uint64_t first, uint64_t count, int value)
    {
        std::vector<std::byte> got(count * ram_page_size);
        ASSERT_TRUE(read_ram(ram_[0], first * ram_page_size, got));
        EXPECT_TRUE(got == filled(count, value)) << "page " << first;
    }
    uint64_t held() { return held_pages(ram_[0]).value_or(~0ULL); }

    std::vector<RamBlock> ram_;
};

/// Writes into the block's file by itself, but never more than `most` bytes at once.
class HalfMapping : public RamMapping {
public:
    HalfMapping(const RamBlock& block, size_t most) : block_(block), most_(most) {}

    size_t write(size_t /*block*/, uint64_t offset, std::span<const std::byte> from) override
    {
        const auto piece = from.first(std::min(from.size(), most_));
        EXPECT_TRUE(write_ram(block_, offset, piece));
        return piece.size();
    }

private:
    const RamBlock& block_;
    size_t most_;
};

/// That of a hypervisor which is beside the kernel.
class NewMapping : public RamMapping {
public:
    explicit NewMapping(std::vector<uint64_t>& discarded) : discarded_(discarded) {}
    size_t write(size_t /*block*/, uint64_t /*offset*/, std::span<const std::byte> from) override
    {
        return from.size();
    }
    bool discard(size_t /*block*/, uint64_t offset, uint64_t /*length*/) override
    {
        discarded_.push_back(offset);
        return true;
    }
    bool is_new() const override { return true; }

private:
    std::vector<uint64_t>& discarded_;
};

TEST(RamWriter, AMappingCanDoWithoutAFile)
{
    std::vector<RamBlock> ram(1);
    ram[0].name = "ram";
    ram[0].size = 16 * ram_page_size;
    std::vector<uint64_t> discarded;
    RamWriter writer(ram, std::make_unique<NewMapping>(discarded));
    EXPECT_TRUE(writer.empty(0, 0, ram[0].size));
    EXPECT_TRUE(writer.write(0, ram_page_size, filled(2, 7)));
    EXPECT_TRUE(discarded.empty());
    EXPECT_TRUE(writer.discard(0, ram_page_size, ram_page_size));
    EXPECT_EQ(discarded, std::vector<uint64_t>{ram_page_size});
}

TEST_F(RamWriterTest, WhatTheMappingDoesNotWriteTheFileDoes)
{
    for (const size_t most : {0UL, 100UL, 3 * ram_page_size, 8 * ram_page_size}) {
        put(0, 10, 1);
        RamWriter writer(ram_, std::make_unique<HalfMapping>(ram_[0], most));
        ASSERT_TRUE(writer.write(0, ram_page_size, filled(8, 9)));
        expect(0, 1, 1);
        expect(1, 8, 9);
        expect(9, 1, 1);
    }
}

TEST_F(RamWriterTest, WhatWasThereIsEmptiedAndGivenBack)
{
    put(10, 50, 7);
    RamWriter writer(ram_);
    ASSERT_TRUE(writer.empty(0, 0, ram_[0].size));
    EXPECT_EQ(held(), 0U);
    ASSERT_TRUE(writer.write(0, 3 * ram_page_size, filled(5, 9)));
    expect(3, 5, 9);
    ASSERT_TRUE(writer.discard(0, 4 * ram_page_size, 2 * ram_page_size));
    expect(4, 2, 0);
    EXPECT_EQ(held(), 3U);
}

TEST_F(RamWriterTest, PreallocatedRamStaysAllocated)
{
    put(0, pages, 0);
    put(20, 3, 7); // an old file's
    RamWriter writer(ram_);
    ASSERT_TRUE(writer.empty(0, 0, ram_[0].size));
    expect(0, pages, 0);
    EXPECT_EQ(held(), pages);
    ASSERT_TRUE(writer.write(0, 3 * ram_page_size, filled(5, 9)));
    ASSERT_TRUE(writer.discard(0, 4 * ram_page_size, 2 * ram_page_size));
    expect(4, 2, 0);
    expect(6, 2, 9);
    EXPECT_EQ(held(), pages);
}

class HugeRamWriterTest : public RamWriterTest {
protected:
    static constexpr uint64_t huge = 2 << 20;
    HugeRamWriterTest() : RamWriterTest(MFD_HUGETLB | MFD_HUGE_2MB, huge) {}
    /// Reserves what the mapping of a QEMU would.
    bool reserve()
    {
        if (ram_.empty())
            return false;
        void* map =
            mmap(nullptr, 2 * huge, PROT_READ | PROT_WRITE, MAP_SHARED, ram_[0].file.get(), 0);
        if (map == MAP_FAILED)
            return false;
        munmap(map, 2 * huge);
        return true;
    }
};

TEST_F(HugeRamWriterTest, HugePagesAreNeverGivenBackAndTheLastMayBePartOfOne)
{
    if (!reserve())
        GTEST_SKIP() << "no huge pages are free here (sysctl vm.nr_hugepages)";
    RamWriter writer(ram_);
    ASSERT_TRUE(writer.empty(0, 0, ram_[0].size));
    EXPECT_EQ(held(), 0U) << "looking must not fill holes";
    ASSERT_TRUE(writer.write(0, 510 * ram_page_size, filled(490, 9)));
    expect(510, 490, 9);
    const uint64_t both = held();
    EXPECT_EQ(both, 2 * huge / ram_page_size);
    ASSERT_TRUE(writer.discard(0, 0, ram_[0].size));
    expect(0, pages, 0);
    EXPECT_EQ(held(), both);
}

TEST_F(HugeRamWriterTest, AnOldContentIsEmptied)
{
    if (!reserve())
        GTEST_SKIP() << "no huge pages are free here (sysctl vm.nr_hugepages)";
    put(990, 10, 7);
    RamWriter writer(ram_);
    ASSERT_TRUE(writer.empty(0, 512 * ram_page_size, 488 * ram_page_size));
    expect(512, 488, 0);
}

} // namespace
} // namespace drover
