// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/tracker/process_ram.h"

#include "migration/ram/ram_writer.h"
#include "victim.h"

#include <csignal>
#include <fstream>
#include <gtest/gtest.h>
#include <sys/wait.h>

namespace drover::testing {
namespace {

constexpr uint64_t ram_pages = 256;
constexpr uint64_t page_kib = ram_page_size / 1024;

std::vector<std::byte> pages_of(uint64_t count, int value)
{
    return std::vector<std::byte>(count * ram_page_size, static_cast<std::byte>(value));
}

class ProcessRamTest : public ::testing::Test {
protected:
    ProcessRamTest() : victim_(ram_pages)
    {
        auto mapped = map_process_ram(victim_.pid(), victim_.mappings());
        EXPECT_TRUE(mapped) << mapped.error().text();
        ram_ = std::move(*mapped);
    }
    /// KiB of shared memory that are in its page tables.
    uint64_t mapped_kib()
    {
        std::ifstream file("/proc/" + std::to_string(victim_.pid()) + "/status");
        for (std::string line; std::getline(file, line);)
            if (line.starts_with("RssShmem:"))
                return std::stoul(line.substr(sizeof "RssShmem:"));
        return 0;
    }
    void expect(uint64_t first, uint64_t count, int value)
    {
        std::vector<std::byte> got(count * ram_page_size);
        ASSERT_TRUE(read_ram(victim_.block(), first * ram_page_size, got));
        EXPECT_TRUE(got == pages_of(count, value)) << "page " << first;
    }

    Victim victim_;
    std::unique_ptr<RamMapping> ram_;
};

TEST_F(ProcessRamTest, WhatIsWrittenIsInTheFileAndInThePageTables)
{
    const uint64_t before = mapped_kib();
    const auto data = pages_of(100, 7);
    EXPECT_EQ(ram_->write(0, 50 * ram_page_size, data), data.size());
    expect(50, 100, 7);
    expect(0, 50, 0);
    EXPECT_GE(mapped_kib(), before + 100 * page_kib);
}

TEST_F(ProcessRamTest, NothingIsWrittenPastTheEnd)
{
    EXPECT_EQ(ram_->write(0, (ram_pages - 1) * ram_page_size, pages_of(2, 7)), 0U);
    EXPECT_EQ(ram_->write(0, ~0ULL - ram_page_size, pages_of(2, 7)), 0U);
    expect(ram_pages - 1, 1, 0);
}

TEST_F(ProcessRamTest, AfterTheProcessHasEndedItsFileIsWritten)
{
    ASSERT_EQ(kill(victim_.pid(), SIGKILL), 0);
    siginfo_t ended{};
    ASSERT_EQ(waitid(P_PID, static_cast<id_t>(victim_.pid()), &ended, WEXITED | WNOWAIT), 0);
    EXPECT_EQ(ram_->write(0, 0, pages_of(1, 7)), 0U);
    RamWriter writer(victim_.blocks(), std::move(ram_));
    ASSERT_TRUE(writer.write(0, 0, pages_of(2, 9)));
    expect(0, 2, 9);
}

} // namespace
} // namespace drover::testing
