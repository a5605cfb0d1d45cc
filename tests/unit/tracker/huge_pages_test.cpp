// SPDX-License-Identifier: GPL-2.0-or-later
//
// Huge pages, and page tables: what tracking costs and how fine it is.
#include "victim.h"
#include "vmm/qemu/tracker/choose.h"
#include "vmm/qemu/tracker/pagemap_scan.h"

#include <fstream>
#include <gtest/gtest.h>
#include <sys/mman.h>

namespace drover::testing {
namespace {

constexpr uint64_t huge_pages = 512; // small ones in a huge one

class HugePageTracker : public ::testing::Test {
protected:
    void SetUp() override
    {
        if (const Status works = probe_pagemap_scan(); !works)
            GTEST_SKIP() << works.error().text();
    }
    Victim& start_victim(uint64_t pages, VictimOptions options = {})
    {
        victim_ = std::make_unique<Victim>(pages, options);
        return *victim_;
    }
    void track()
    {
        auto tracker = choose_tracker(victim_->pid(), victim_->mappings());
        ASSERT_TRUE(tracker) << tracker.error().text();
        tracker_ = std::move(*tracker);
        pages_ = victim_->block().pages();
        ASSERT_TRUE(tracker_->start());
    }
    uint64_t collect()
    {
        std::vector<PageBitmap> dirty{PageBitmap(pages_)};
        const Status status = tracker_->collect_all(dirty);
        EXPECT_TRUE(status) << status.error().text();
        return dirty[0].count();
    }

    std::unique_ptr<Victim> victim_;
    std::unique_ptr<DirtyTracker> tracker_; // refers to the victim's mappings
    uint64_t pages_ = 0;
};

/// Who asks for transparent huge pages of shared memory gets them, while this lives.
class SharedHugePages {
public:
    SharedHugePages()
    {
        std::ifstream file(path);
        std::getline(file, before_);
        const size_t first = before_.find('[');
        before_ = before_.substr(first + 1, before_.find(']') - first - 1);
        if (!are_had())
            std::ofstream(path) << "advise";
    }
    SharedHugePages(const SharedHugePages&) = delete;
    SharedHugePages& operator=(const SharedHugePages&) = delete;
    ~SharedHugePages()
    {
        if (!before_.empty())
            std::ofstream(path) << before_;
    }

    [[nodiscard]] static bool are_had()
    {
        std::ifstream file(path);
        std::string line;
        std::getline(file, line);
        return line.find("[advise]") != std::string::npos ||
               line.find("[always]") != std::string::npos;
    }

private:
    static constexpr const char* path = "/sys/kernel/mm/transparent_hugepage/shmem_enabled";
    std::string before_;
};

/// KiB of the process's status file.
long status_kib(pid_t pid, const std::string& name)
{
    std::ifstream file("/proc/" + std::to_string(pid) + "/status");
    for (std::string line; std::getline(file, line);)
        if (line.starts_with(name + ":"))
            return std::stol(line.substr(name.size() + 1));
    return -1;
}

TEST_F(HugePageTracker, OneByteInATransparentHugePageIsOnePage)
{
    const SharedHugePages huge_ones;
    if (!SharedHugePages::are_had())
        GTEST_SKIP() << "no transparent huge pages for shared memory here";
    Victim& victim = start_victim(8 * huge_pages);
    ASSERT_TRUE(victim.do_it("advise-huge"));
    for (const char* write : {"write 0 1", "write 600 1"})
        ASSERT_TRUE(victim.do_it(write));
    track();
    EXPECT_EQ(collect(), 0U);
    ASSERT_TRUE(victim.do_it("write 7 2"));
    EXPECT_EQ(collect(), 1U);
    ASSERT_TRUE(victim.do_it("write 7 3"));
    EXPECT_EQ(collect(), 1U) << "the second time too";
    // One that comes while it is tracked is dirty as a whole once.
    ASSERT_TRUE(victim.do_it("write 3000 1"));
    EXPECT_EQ(collect(), huge_pages);
    ASSERT_TRUE(victim.do_it("write 3001 1"));
    EXPECT_EQ(collect(), 1U);
    tracker_->stop();
    track();
    ASSERT_TRUE(victim.do_it("write 7 4"));
    EXPECT_EQ(collect(), 1U);
}

TEST_F(HugePageTracker, OfHugetlbfsIsSeenAsAWholeUpToAnOddEnd)
{
    const uint64_t pages = 2 * huge_pages + 100;
    {
        void* map = mmap(nullptr, 3 * huge_pages * ram_page_size, PROT_READ | PROT_WRITE,
                         MAP_SHARED | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
        if (map == MAP_FAILED)
            GTEST_SKIP() << "three huge pages are needed: sysctl vm.nr_hugepages=3";
        munmap(map, 3 * huge_pages * ram_page_size);
    }
    Victim& victim = start_victim(pages, {.hugetlb = true});
    ASSERT_TRUE(victim.do_it("fill"));
    track();
    EXPECT_TRUE(tracker_->is_coarse(0));
    EXPECT_EQ(collect(), 0U);
    ASSERT_TRUE(victim.do_it("write 3 2"));
    EXPECT_EQ(collect(), huge_pages);
    ASSERT_TRUE(victim.do_it("write 1050 2"));
    EXPECT_EQ(collect(), 100U);
    PageBitmap dirty(pages);
    ASSERT_TRUE(victim.do_it("write 1050 3"));
    ASSERT_TRUE(tracker_->collect(0, 2 * huge_pages, pages, dirty));
    EXPECT_EQ(dirty.count(), 100U);
}

TEST_F(HugePageTracker, MakesNoPageTablesForHoles)
{
    Victim& victim = start_victim((1ULL << 30) / ram_page_size);
    ASSERT_TRUE(victim.do_it("write 0 1"));
    const long before = status_kib(victim.pid(), "VmPTE");
    track();
    EXPECT_EQ(collect(), 0U);
    EXPECT_LE(status_kib(victim.pid(), "VmPTE"), before + 64) << "all would be 2 MiB";
    ASSERT_TRUE(victim.do_it("write 100000 1"));
    EXPECT_GE(collect(), 1U);
    ASSERT_TRUE(victim.do_it("write 100000 2"));
    EXPECT_EQ(collect(), 1U);
}

} // namespace
} // namespace drover::testing
