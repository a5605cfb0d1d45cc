// SPDX-License-Identifier: GPL-2.0-or-later
//
// Post-copy's hold on another process's memory, on the real kernel.
#include "../stream/run_loop.h"
#include "victim.h"
#include "vmm/qemu/tracker/choose.h"
#include "vmm/qemu/tracker/pagemap_scan.h"
#include "vmm/qemu/tracker/userfault_hold.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

namespace drover::testing {
namespace {

using Touch = std::pair<size_t, uint64_t>;

class Hold : public ::testing::Test {
protected:
    static constexpr uint64_t pages = 1200;
    static constexpr uint64_t absent_page = 700;

    void SetUp() override
    {
        auto made = make_userfault_hold(victim_.pid(), victim_.blocks(), victim_.mappings());
        if (!made && !victim_.mappings()[0].holding)
            GTEST_SKIP() << made.error().text();
        ASSERT_TRUE(made) << made.error().text();
        hold_ = std::move(*made);
    }

    void start()
    {
        std::vector<PageBitmap> absent{PageBitmap(pages)};
        absent[0].set(absent_page);
        const Status started = hold_->start(
            absent, [this](size_t block, uint64_t page) { touched_.emplace_back(block, page); });
        ASSERT_TRUE(started) << started.error().text();
    }
    /// Tells the victim to do it and waits until it is held at that page.
    void expect_held(const std::string& command, uint64_t page)
    {
        victim_.tell(command);
        ASSERT_TRUE(run_until([&] { return !touched_.empty(); })) << command;
        EXPECT_EQ(touched_.front(), Touch(0, page)) << command;
        EXPECT_FALSE(victim_.has_answered()) << command << " went on";
        touched_.clear();
    }
    void fill_file(uint64_t page, int value)
    {
        const std::vector<std::byte> content(ram_page_size, static_cast<std::byte>(value));
        ASSERT_TRUE(write_ram(victim_.block(), page * ram_page_size, content));
    }
    [[nodiscard]] int first_byte(uint64_t page)
    {
        std::vector<std::byte> content(ram_page_size);
        EXPECT_TRUE(read_ram(victim_.block(), page * ram_page_size, content));
        return std::to_integer<int>(content[0]);
    }

    Victim victim_{pages};
    std::unique_ptr<PageHold> hold_;
    std::vector<Touch> touched_;
};

TEST_F(Hold, WhoTouchesAPageWaitsUntilItIsLetGo)
{
    fill_file(absent_page, 1); // out of date
    start();
    expect_held("read 700", absent_page);
    fill_file(absent_page, 2);
    ASSERT_TRUE(hold_->let_go(0, absent_page, 1));
    EXPECT_TRUE(victim_.answer());
    EXPECT_EQ(first_byte(absent_page), 2);
    EXPECT_TRUE(victim_.do_it("write 700 3")) << "it is held no more";
    EXPECT_EQ(first_byte(absent_page), 3);
    EXPECT_TRUE(touched_.empty());
}

/// What was in the process's page tables would be seen as it is.
TEST_F(Hold, ThatWasTouchedBeforeIsHeldToo)
{
    ASSERT_TRUE(victim_.do_it("write 700 1"));
    start();
    expect_held("read 700", absent_page);
    fill_file(absent_page, 2);
    ASSERT_TRUE(hold_->let_go(0, absent_page, 1));
    EXPECT_TRUE(victim_.answer());
    EXPECT_EQ(first_byte(absent_page), 2);
}

TEST_F(Hold, TheKernelsAccessesWaitToo)
{
    const std::string path = ::testing::TempDir() + "/hold-direct";
    const UniqueFd file(open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    ASSERT_EQ(ftruncate(file.get(), 1 << 16), 0);
    start();
    expect_held("direct 700 1 " + path, absent_page);
    fill_file(absent_page, 7);
    ASSERT_TRUE(hold_->let_go(0, absent_page, 1));
    EXPECT_TRUE(victim_.answer());
    unlink(path.c_str());
}

TEST_F(Hold, AHoleIsLetGoAsZeros)
{
    start();
    expect_held("write 3 5", 3);
    ASSERT_TRUE(hold_->let_go(0, 0, 512)) << "a hole among what is let go is left alone";
    EXPECT_FALSE(victim_.has_answered());
    ASSERT_TRUE(hold_->let_go_zero(0, 3));
    EXPECT_TRUE(victim_.answer());
    EXPECT_EQ(first_byte(3), 5);
    ASSERT_TRUE(hold_->let_go_zero(0, 3)) << "once more does no harm";
    EXPECT_EQ(first_byte(3), 5);
}

TEST_F(Hold, AStretchIsLetGoAtOnce)
{
    for (uint64_t page = 0; page < pages; ++page)
        fill_file(page, 9);
    start();
    ASSERT_TRUE(hold_->let_go(0, 0, 512));
    EXPECT_TRUE(victim_.do_it("write 0 1"));
    EXPECT_TRUE(victim_.do_it("write 511 1"));
    expect_held("write 512 1", 512);
    hold_->stop();
    EXPECT_TRUE(victim_.answer()) << "the end lets everybody go";
    EXPECT_TRUE(victim_.do_it("write 700 1"));
}

TEST_F(Hold, AfterItWritesAreTrackedAsBefore)
{
    if (const Status works = probe_pagemap_scan(); !works)
        GTEST_SKIP() << works.error().text();
    start();
    hold_->stop();
    hold_->stop();
    auto tracker = choose_tracker(victim_.pid(), victim_.mappings());
    ASSERT_TRUE(tracker) << tracker.error().text();
    ASSERT_TRUE((*tracker)->start());
    ASSERT_TRUE(victim_.do_it("write 11 1"));
    std::vector<PageBitmap> dirty{PageBitmap(pages)};
    ASSERT_TRUE((*tracker)->collect_all(dirty));
    EXPECT_EQ(dirty[0].count(), 1U);
    EXPECT_TRUE(dirty[0].test(11));
}

TEST(HoldChoice, SaysWhyItCannotBeHad)
{
    Victim victim(4);
    std::vector<BlockMapping> mappings(1);
    mappings[0].pages = 4;
    mappings[0].holding_error = EPERM;
    const auto made = make_userfault_hold(victim.pid(), victim.blocks(), mappings);
    ASSERT_FALSE(made);
    EXPECT_NE(made.error().message.find("does not permit"), std::string::npos);
    EXPECT_NE(made.error().hint.find("/dev/userfaultfd"), std::string::npos);
}

} // namespace
} // namespace drover::testing
