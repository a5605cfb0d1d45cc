// SPDX-License-Identifier: GPL-2.0-or-later
//
// What the kernel takes out of page tables, and what trackers make of it.
#include "victim.h"
#include "vmm/qemu/tracker/choose.h"
#include "vmm/qemu/tracker/kernel_writers.h"
#include "vmm/qemu/tracker/pagemap_scan.h"
#include "vmm/qemu/tracker/process_handle.h"
#include "vmm/qemu/tracker/ram_witness.h"
#include "vmm/qemu/tracker/soft_dirty.h"
#include "vmm/qemu/tracker/standstill.h"

#include <algorithm>
#include <cstdlib>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace drover::testing {
namespace {

using Pages = std::vector<uint64_t>;

Pages pages_of(const PageBitmap& bitmap)
{
    Pages found;
    for (uint64_t page = bitmap.next_set(0, bitmap.size()); page < bitmap.size();
         page = bitmap.next_set(page + 1, bitmap.size()))
        found.push_back(page);
    return found;
}

PageBitmap bitmap_of(uint64_t size, const Pages& pages)
{
    PageBitmap bitmap(size);
    for (const uint64_t page : pages)
        bitmap.set(page);
    return bitmap;
}

/// As when the page is swapped out and in again: it leaves all page tables, and is what it was.
void take_away_and_bring_in(const RamBlock& block, uint64_t page)
{
    std::vector<std::byte> content(ram_page_size);
    ASSERT_TRUE(read_ram(block, page * ram_page_size, content));
    ASSERT_TRUE(discard_ram(block, page * ram_page_size, ram_page_size));
    ASSERT_TRUE(write_ram(block, page * ram_page_size, content));
}

RamBlock block_with_data(uint64_t pages, const Pages& data)
{
    RamBlock block{"ram", pages * ram_page_size, ram_page_size,
                   UniqueFd(memfd_create("ram", MFD_CLOEXEC))};
    EXPECT_EQ(ftruncate(block.file.get(), static_cast<off_t>(block.size)), 0);
    const std::vector<std::byte> content(ram_page_size, std::byte{1});
    for (const uint64_t page : data)
        EXPECT_TRUE(write_ram(block, page * ram_page_size, content));
    return block;
}

TEST(Reclaim, WhatIsLackingCountsThisTimeAndTheNext)
{
    PageBitmap absent(200);
    PageBitmap dirty = bitmap_of(200, {5});
    count_absent(bitmap_of(200, {7, 130}), absent, dirty);
    EXPECT_EQ(pages_of(dirty), (Pages{5, 7, 130}));
    dirty = PageBitmap(200);
    count_absent(bitmap_of(200, {131}), absent, dirty);
    EXPECT_EQ(pages_of(dirty), (Pages{7, 130, 131})) << "until now they were out of sight";
    dirty = PageBitmap(200);
    count_absent(PageBitmap(200), absent, dirty);
    EXPECT_EQ(pages_of(dirty), Pages{131});
    dirty = PageBitmap(200);
    count_absent(PageBitmap(200), absent, dirty);
    EXPECT_EQ(pages_of(dirty), Pages());
}

TEST(Reclaim, HolesAreNotLacking)
{
    const RamBlock block = block_with_data(1000, {3, 4, 700});
    EXPECT_EQ(pages_of(data_among(block, bitmap_of(1000, {2, 3, 5, 699, 700, 999}))),
              (Pages{3, 700}));
    PageBitmap all(1000);
    all.set_range(0, 1000);
    EXPECT_EQ(pages_of(data_among(block, all)), (Pages{3, 4, 700}));
}

TEST(Reclaim, AWitnessRemembersWhatWasGoneForAMoment)
{
    const RamBlock block = block_with_data(100, {1, 2, 3, 50});
    auto witness = RamWitness::create(block.file.get(), 100);
    ASSERT_TRUE(witness);
    for (const auto& [first, count] : {std::pair{1, 3}, std::pair{50, 1}})
        witness->restore(static_cast<uint64_t>(first), static_cast<uint64_t>(count));
    auto gone = [&] {
        PageBitmap found(100);
        EXPECT_TRUE(witness->look(found));
        return pages_of(data_among(block, found));
    };
    EXPECT_EQ(gone(), Pages());
    take_away_and_bring_in(block, 2);
    EXPECT_EQ(gone(), Pages{2});
    witness->restore(1, 1); // its neighbour: nothing around it is brought back
    EXPECT_EQ(gone(), Pages{2});
    witness->restore(2, 1);
    EXPECT_EQ(gone(), Pages());
    struct stat file {};
    ASSERT_EQ(fstat(block.file.get(), &file), 0);
    EXPECT_EQ(file.st_blocks, 4 * 8) << "no hole was filled";
}

/// Both trackers, each where the kernel has it.
class UnderReclaim : public ::testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Kernel, UnderReclaim, ::testing::Values("pagemap-scan", "soft-dirty"),
                         [](const auto& test) {
                             return std::string(test.param) == "soft-dirty" ? "SoftDirty"
                                                                            : "PagemapScan";
                         });

TEST_P(UnderReclaim, NoWriteIsMissed)
{
    const bool scan = std::string_view(GetParam()) == "pagemap-scan";
    if (const Status works = scan ? probe_pagemap_scan() : probe_soft_dirty(); !works)
        GTEST_SKIP() << works.error().text();
    Victim victim(100);
    for (const char* write : {"write 3 1", "write 4 1", "write 5 1", "write 6 1"})
        ASSERT_TRUE(victim.do_it(write));
    setenv("DROVER_TRACKER", GetParam(), 1);
    auto tracker = choose_tracker(victim.pid(), victim.mappings());
    unsetenv("DROVER_TRACKER");
    ASSERT_TRUE(tracker) << tracker.error().text();
    ASSERT_TRUE((*tracker)->start());
    auto collect = [&] {
        std::vector<PageBitmap> dirty{PageBitmap(100)};
        EXPECT_TRUE((*tracker)->collect_all(dirty));
        return pages_of(dirty[0]);
    };
    EXPECT_EQ(collect(), Pages());
    ASSERT_TRUE(victim.do_it("write 3 2"));
    take_away_and_bring_in(victim.block(), 3); // and stays away
    ASSERT_TRUE(victim.do_it("write 5 2"));
    take_away_and_bring_in(victim.block(), 5);
    ASSERT_TRUE(victim.do_it("read 5")); // and looks as if it had not been written
    const Pages found = collect();
    EXPECT_TRUE(std::ranges::count(found, 3) == 1 && std::ranges::count(found, 5) == 1);
    (void)collect();
    EXPECT_EQ(collect(), Pages()) << "what was taken away is in sight again";
    ASSERT_TRUE(victim.do_it("write 4 2"));
    EXPECT_EQ(collect(), Pages{4});
}

TEST(KernelWriters, AreThreadsOfTheKernelBeforeItsRelease64)
{
    const std::vector<std::string> files{"socket:[1]", "/dev/kvm", "/dev/vhost-net"};
    EXPECT_EQ(unstoppable_writer(files, "6.1.0-18-cloud-amd64"), "/dev/vhost-net");
    EXPECT_EQ(unstoppable_writer(files, "6.3.13"), "/dev/vhost-net");
    EXPECT_EQ(unstoppable_writer(files, "unheard of"), "/dev/vhost-net");
    EXPECT_EQ(unstoppable_writer(files, "6.4.0"), std::nullopt);
    EXPECT_EQ(unstoppable_writer(files, "10.2.0"), std::nullopt);
    const std::vector<std::string> others{"/srv/vhost-net.img", "/dev/net/tun", "/dev/vhostess"};
    EXPECT_EQ(unstoppable_writer(others, "6.1.0"), std::nullopt);
    EXPECT_TRUE(check_stops_as_a_whole(getpid()));
}

TEST(StandstillLimit, IsKeptWhenAThreadDoesNotStop)
{
    Victim victim(4);
    auto process = ProcessHandle::open(victim.pid());
    ASSERT_TRUE(process);
    ASSERT_TRUE(victim.do_it("wait-in-kernel"));
    {
        Standstill standstill(*process);
        auto still = standstill.begin();
        ASSERT_TRUE(still) << still.error().text();
        EXPECT_FALSE(*still);
        EXPECT_TRUE(victim.do_it("write 1 1")) << "it was not let go";
    }
    ASSERT_TRUE(victim.do_it("wait-no-more"));
    {
        Standstill standstill(*process);
        auto still = standstill.begin();
        ASSERT_TRUE(still) << still.error().text();
        EXPECT_TRUE(*still);
        victim.tell("write 2 1");
        EXPECT_FALSE(victim.has_answered());
    }
    EXPECT_TRUE(victim.answer());
}

TEST(TrackerLibrary, PassesThroughWrappersAndLeavesNothingBehind)
{
    for (const bool wrapped : {false, true}) {
        Victim victim(4, {.wrapped = wrapped});
        EXPECT_EQ(victim.mappings().size(), 1U) << wrapped;
        EXPECT_TRUE(victim.do_it("variables")) << wrapped;
    }
}

} // namespace
} // namespace drover::testing
