// SPDX-License-Identifier: GPL-2.0-or-later
#include "util/clock.h"
#include "victim.h"
#include "vmm/qemu/tracker/choose.h"
#include "vmm/qemu/tracker/pagemap_scan.h"
#include "vmm/qemu/tracker/soft_dirty.h"

#include <algorithm>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

namespace drover::testing {
namespace {

using Pages = std::vector<uint64_t>;

/// The kernel's two ways, each where the kernel has it.
class Tracker : public ::testing::TestWithParam<const char*> {
protected:
    static constexpr uint64_t pages = 2000;

    void SetUp() override
    {
        const bool scan = std::string_view(GetParam()) == "pagemap-scan";
        const Status works = scan ? probe_pagemap_scan() : probe_soft_dirty();
        if (!works)
            GTEST_SKIP() << works.error().text();
        victim_ = std::make_unique<Victim>(pages);
        ASSERT_EQ(victim_->mappings().size(), 1U);
        setenv("DROVER_TRACKER", GetParam(), 1);
        auto tracker = choose_tracker(victim_->pid(), victim_->mappings());
        unsetenv("DROVER_TRACKER");
        ASSERT_TRUE(tracker) << tracker.error().text();
        tracker_ = std::move(*tracker);
        EXPECT_EQ(tracker_->name(), GetParam());
    }

    Pages collect()
    {
        std::vector<PageBitmap> dirty{PageBitmap(pages)};
        const Status status = tracker_->collect_all(dirty);
        EXPECT_TRUE(status) << status.error().text();
        Pages found;
        for (uint64_t page = 0; page < pages; ++page)
            if (dirty[0].test(page))
                found.push_back(page);
        return found;
    }
    void write(uint64_t page, int value)
    {
        EXPECT_TRUE(victim_->do_it("write " + std::to_string(page) + " " + std::to_string(value)));
    }
    void copy(uint64_t page)
    {
        const std::span into(copy_.data() + page * ram_page_size, ram_page_size);
        EXPECT_TRUE(read_ram(victim_->block(), page * ram_page_size, into));
    }
    [[nodiscard]] bool copy_is_true() const
    {
        std::vector<std::byte> now(pages * ram_page_size);
        EXPECT_TRUE(read_ram(victim_->block(), 0, now));
        return now == copy_;
    }
    /// Copies what is collected again and again until the victim is done, and once more.
    unsigned copy_until_answered()
    {
        unsigned rounds = 0;
        for (bool done = false; !done; ++rounds) {
            done = victim_->has_answered();
            for (const uint64_t page : collect())
                copy(page);
        }
        EXPECT_TRUE(victim_->answer());
        return rounds;
    }

    std::unique_ptr<Victim> victim_;
    std::unique_ptr<DirtyTracker> tracker_;
    std::vector<std::byte> copy_ = std::vector<std::byte>(pages * ram_page_size);
};

INSTANTIATE_TEST_SUITE_P(Kernel, Tracker, ::testing::Values("pagemap-scan", "soft-dirty"),
                         [](const auto& test) {
                             return std::string(test.param) == "soft-dirty" ? "SoftDirty"
                                                                            : "PagemapScan";
                         });

TEST_P(Tracker, ReportsEachWrittenPageOnce)
{
    write(1, 1);
    write(2, 1);
    ASSERT_TRUE(tracker_->start());
    EXPECT_EQ(collect(), Pages()) << "what was written before the start";
    write(0, 2); // written for the first time
    write(2, 2); // again
    write(pages - 1, 2);
    EXPECT_EQ(collect(), (Pages{0, 2, pages - 1}));
    // What was a hole comes into soft-dirty's sight only now, and counts once more.
    if (tracker_->name() == "soft-dirty") {
        EXPECT_EQ(collect(), (Pages{0, pages - 1}));
    }
    EXPECT_EQ(collect(), Pages());
    write(2, 2); // the same bytes: a write all the same
    write(2, 3);
    EXPECT_EQ(collect(), Pages{2});
    EXPECT_EQ(collect(), Pages());
}

TEST_P(Tracker, ReadingIsNoWriting)
{
    write(5, 1);
    ASSERT_TRUE(tracker_->start());
    EXPECT_TRUE(victim_->do_it("read 5"));
    EXPECT_EQ(collect(), Pages());
}

TEST_P(Tracker, OurOwnReadingAndScanningIsNoWriting)
{
    write(5, 1);
    ASSERT_TRUE(tracker_->start());
    copy(5);
    copy(6);
    EXPECT_EQ(collect(), Pages());
    struct stat file {};
    ASSERT_EQ(fstat(victim_->block().file.get(), &file), 0);
    EXPECT_EQ(file.st_blocks, 8) << "one page holds data, and no hole was filled";
}

TEST_P(Tracker, AddsToWhatTheBitmapHolds)
{
    ASSERT_TRUE(tracker_->start());
    write(7, 1);
    std::vector<PageBitmap> dirty{PageBitmap(pages)};
    dirty[0].set(100);
    ASSERT_TRUE(tracker_->collect_all(dirty));
    EXPECT_TRUE(dirty[0].test(7));
    EXPECT_TRUE(dirty[0].test(100));
}

TEST_P(Tracker, CanBeStoppedAndStartedAgain)
{
    ASSERT_TRUE(tracker_->start());
    write(3, 1);
    tracker_->stop();
    tracker_->stop();
    write(4, 1);
    ASSERT_TRUE(tracker_->start());
    EXPECT_EQ(collect(), Pages()) << "what was written between";
    write(4, 2);
    EXPECT_EQ(collect(), Pages{4});
}

TEST_P(Tracker, CollectsARangeAndLeavesTheRest)
{
    if (!tracker_->collects_ranges())
        GTEST_SKIP() << "this tracker collects all at once";
    write(0, 1);
    ASSERT_TRUE(tracker_->start());
    for (const uint64_t page : {63, 64, 127, 128})
        write(page, 1);
    PageBitmap dirty(pages);
    ASSERT_TRUE(tracker_->collect(0, 64, 128, dirty));
    EXPECT_EQ(dirty.count(), 2U);
    EXPECT_TRUE(dirty.test(64) && dirty.test(127));
    EXPECT_EQ(collect(), (Pages{63, 128}));
}

TEST_P(Tracker, MissesNoWriteOfTwoThreads)
{
    ASSERT_TRUE(tracker_->start());
    victim_->tell("scribble 1000000");
    EXPECT_GT(copy_until_answered(), 1U);
    EXPECT_TRUE(copy_is_true());
}

TEST_P(Tracker, MissesNoWriteWhenRangesAreCollected)
{
    if (!tracker_->collects_ranges())
        GTEST_SKIP() << "this tracker collects all at once";
    ASSERT_TRUE(tracker_->start());
    victim_->tell("scribble 1000000");
    for (bool done = false; !done;) {
        done = victim_->has_answered();
        for (uint64_t first = 0; first < pages; first += 512) {
            const uint64_t end = std::min<uint64_t>(first + 512, pages);
            PageBitmap dirty(pages);
            ASSERT_TRUE(tracker_->collect(0, first, end, dirty));
            for (uint64_t page = dirty.next_set(first, end); page < end;
                 page = dirty.next_set(page + 1, end))
                copy(page);
        }
    }
    EXPECT_TRUE(victim_->answer());
    EXPECT_TRUE(copy_is_true());
}

/// A file of two blocks that differ, where direct reads work.
class DirectFile {
public:
    DirectFile() : path_(std::filesystem::current_path() / "tracker-direct-XXXXXX")
    {
        UniqueFd file(mkostemp(path_.data(), O_CLOEXEC));
        const std::string text = std::string(4096, 'a') + std::string(4096, 'b');
        usable_ = file && ::write(file.get(), text.data(), text.size()) == 8192 &&
                  fsync(file.get()) == 0 &&
                  UniqueFd(open(path_.c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC));
    }
    ~DirectFile() { unlink(path_.c_str()); }
    DirectFile(const DirectFile&) = delete;
    DirectFile& operator=(const DirectFile&) = delete;

    explicit operator bool() const { return usable_; }
    [[nodiscard]] const std::string& path() const { return path_; }

private:
    std::string path_;
    bool usable_ = false;
};

TEST_P(Tracker, ReportsWhatADeviceWroteByItself)
{
    const DirectFile file;
    if (!file)
        GTEST_SKIP() << "no direct reads on the file system of the working directory";
    write(9, 1);
    ASSERT_TRUE(tracker_->start());
    ASSERT_TRUE(victim_->do_it("direct 9 1 " + file.path()));
    EXPECT_EQ(collect(), Pages{9});
    copy(9);
    EXPECT_EQ(copy_[9 * ram_page_size], std::byte{'a'});
    // Collecting while reads are under way, each of which changes the page.
    victim_->tell("direct 9 2000 " + file.path());
    copy_until_answered();
    EXPECT_EQ(copy_[9 * ram_page_size], std::byte{'b'});
    for (const uint64_t page : collect())
        copy(page);
    std::vector<std::byte> now(ram_page_size);
    EXPECT_TRUE(read_ram(victim_->block(), 9 * ram_page_size, now));
    EXPECT_TRUE(std::equal(now.begin(), now.end(), copy_.begin() + 9 * ram_page_size));
}

TEST_P(Tracker, ADeadProcessIsAnErrorAndNoHang)
{
    ASSERT_TRUE(tracker_->start());
    kill(victim_->pid(), SIGKILL);
    siginfo_t info{};
    ASSERT_EQ(waitid(P_PID, static_cast<id_t>(victim_->pid()), &info, WEXITED | WNOWAIT), 0);
    std::vector<PageBitmap> dirty{PageBitmap(pages)};
    EXPECT_FALSE(tracker_->collect_all(dirty));
    tracker_->stop();
}

TEST(TrackerScan, OfAGibibyteTakesFiveMillisecondsWhenLittleIsDirty)
{
    if (const Status works = probe_pagemap_scan(); !works)
        GTEST_SKIP() << works.error().text();
    constexpr uint64_t gibibyte = (1ULL << 30) / ram_page_size;
    Victim victim(gibibyte);
    ASSERT_TRUE(victim.do_it("fill"));
    auto tracker = choose_tracker(victim.pid(), victim.mappings());
    ASSERT_TRUE(tracker) << tracker.error().text();
    ASSERT_TRUE((*tracker)->start());
    std::vector<double> times;
    for (int turn = 0; turn < 21; ++turn) {
        for (uint64_t page = 0; page < gibibyte; page += gibibyte / 50)
            ASSERT_TRUE(victim.do_it("write " + std::to_string(page) + " 2"));
        std::vector<PageBitmap> dirty{PageBitmap(gibibyte)};
        const TimePoint start = Clock::now();
        ASSERT_TRUE((*tracker)->collect_all(dirty));
        times.push_back(seconds_since(start));
        EXPECT_EQ(dirty[0].count(), 51U);
    }
    std::sort(times.begin(), times.end());
    printf("a scan of 1 GiB: %.2f ms (median of %zu)\n", times[times.size() / 2] * 1e3,
           times.size());
    EXPECT_LE(times.front(), 0.005) << "not even once";
}

TEST(TrackerChoice, NamesABlockWhosePlaceIsUnknown)
{
    Victim victim(4);
    const auto placed = place_blocks(victim.blocks(), {});
    ASSERT_FALSE(placed);
    EXPECT_NE(placed.error().message.find("victim"), std::string::npos);
    EXPECT_NE(placed.error().hint.find("libdrover-tracker.so"), std::string::npos);
}

TEST(TrackerChoice, ThatCannotBeMetSaysWhy)
{
    Victim victim(4);
    setenv("DROVER_TRACKER", "crystal-ball", 1);
    auto tracker = choose_tracker(victim.pid(), victim.mappings());
    unsetenv("DROVER_TRACKER");
    ASSERT_FALSE(tracker) << (*tracker)->name();
    EXPECT_NE(tracker.error().message.find("crystal-ball"), std::string::npos);
}

} // namespace
} // namespace drover::testing
