// SPDX-License-Identifier: GPL-2.0-or-later
#include "fake_ram.h"

#include <cstring>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace drover::testing {

std::vector<std::byte> page_content(uint64_t seed)
{
    std::vector<std::byte> page(ram_page_size);
    uint64_t word = seed * 0x9e3779b97f4a7c15ULL + 1;
    for (size_t at = 0; at < page.size(); at += sizeof word) {
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        memcpy(page.data() + at, &word, sizeof word);
    }
    return page;
}

FakeRam::FakeRam(const std::vector<FakeBlock>& blocks, bool collects_ranges)
    : collects_ranges_(collects_ranges)
{
    for (const FakeBlock& block : blocks) {
        UniqueFd file(memfd_create(block.name.c_str(), MFD_CLOEXEC));
        const uint64_t size = block.pages * ram_page_size;
        EXPECT_EQ(ftruncate(file.get(), static_cast<off_t>(size)), 0);
        blocks_.push_back({block.name, size, ram_page_size, std::move(file)});
        dirty_.emplace_back(block.pages);
    }
}

bool FakeRam::put(size_t block, uint64_t page, std::span<const std::byte> content)
{
    std::lock_guard lock(mutex_);
    if (!running_)
        return false;
    EXPECT_TRUE(write_ram(blocks_[block], page * ram_page_size, content));
    if (tracking_)
        dirty_[block].set(page);
    return true;
}

bool FakeRam::write(size_t block, uint64_t page, uint64_t seed)
{
    return put(block, page, page_content(seed));
}

void FakeRam::write_paused(size_t block, uint64_t page, uint64_t seed)
{
    std::lock_guard lock(mutex_);
    EXPECT_FALSE(running_);
    EXPECT_TRUE(write_ram(blocks_[block], page * ram_page_size, page_content(seed)));
    if (tracking_)
        dirty_[block].set(page);
}

bool FakeRam::write_zeros(size_t block, uint64_t page)
{
    return put(block, page, std::vector<std::byte>(ram_page_size));
}

void FakeRam::write_unseen(size_t block, uint64_t page, uint64_t seed)
{
    EXPECT_TRUE(write_ram(blocks_[block], page * ram_page_size, page_content(seed)));
}

void FakeRam::touch(size_t block, uint64_t page)
{
    std::lock_guard lock(mutex_);
    dirty_[block].set(page);
}

bool FakeRam::give_back(size_t block, uint64_t page, uint64_t count)
{
    std::lock_guard lock(mutex_);
    if (!running_)
        return false;
    EXPECT_TRUE(discard_ram(blocks_[block], page * ram_page_size, count * ram_page_size));
    return true;
}

void FakeRam::set_running(bool running)
{
    std::lock_guard lock(mutex_);
    running_ = running;
}

bool FakeRam::running()
{
    std::lock_guard lock(mutex_);
    return running_;
}

Status FakeRam::start()
{
    std::lock_guard lock(mutex_);
    tracking_ = true;
    for (PageBitmap& dirty : dirty_)
        dirty.clear_range(0, dirty.size());
    return {};
}

void FakeRam::move_bits(size_t block, uint64_t first, uint64_t end, PageBitmap& dirty)
{
    std::lock_guard lock(mutex_);
    EXPECT_TRUE(tracking_);
    PageBitmap& ours = dirty_[block];
    for (uint64_t page = ours.next_set(first, end); page < end; page = ours.next_set(page, end)) {
        dirty.set(page);
        ours.clear(page);
    }
}

Status FakeRam::collect(size_t block, uint64_t first, uint64_t end, PageBitmap& dirty)
{
    EXPECT_TRUE(collects_ranges_);
    EXPECT_TRUE(first % 64 == 0 && (end % 64 == 0 || end == blocks_[block].pages()));
    if (before_collect)
        before_collect(block, first);
    move_bits(block, first, end, dirty);
    return {};
}

Status FakeRam::collect_all(std::span<PageBitmap> dirty)
{
    if (before_collect_all)
        before_collect_all(++collections_);
    if (fail_collect_all)
        return fail(ErrorKind::System, "the fake tracker broke");
    for (size_t block = 0; block < dirty.size(); ++block)
        move_bits(block, 0, blocks_[block].pages(), dirty[block]);
    return {};
}

void FakeRam::stop()
{
    std::lock_guard lock(mutex_);
    tracking_ = false;
}

bool FakeRam::tracking()
{
    std::lock_guard lock(mutex_);
    return tracking_;
}

namespace {

PageBitmap pages_with_memory(const RamBlock& block)
{
    PageBitmap data(block.pages());
    EXPECT_TRUE(for_each_data(block, 0, block.pages(), [&](uint64_t first, uint64_t count) {
        data.set_range(first, count);
    }));
    return data;
}

} // namespace

::testing::AssertionResult same_ram(const FakeRam& original, const FakeRam& copy)
{
    for (size_t i = 0; i < original.blocks().size(); ++i) {
        const RamBlock& a = original.blocks()[i];
        const RamBlock& b = copy.blocks()[i];
        std::vector<std::byte> ours(a.size), theirs(b.size);
        if (!read_ram(a, 0, ours) || !read_ram(b, 0, theirs) || a.size != b.size)
            return ::testing::AssertionFailure() << "block " << a.name << " cannot be compared";
        const PageBitmap used = pages_with_memory(b);
        for (uint64_t page = 0; page < a.pages(); ++page) {
            const std::byte* at = ours.data() + page * ram_page_size;
            if (memcmp(at, theirs.data() + page * ram_page_size, ram_page_size) != 0)
                return ::testing::AssertionFailure()
                       << "block " << a.name << ", page " << page << " differs";
            if (used.test(page) && is_zero_page(at))
                return ::testing::AssertionFailure() << "block " << a.name << ", page " << page
                                                     << " is zero and uses memory in the copy";
        }
    }
    return ::testing::AssertionSuccess();
}

bool is_untouched(const FakeRam& ram)
{
    for (const RamBlock& block : ram.blocks()) {
        struct stat file {};
        if (fstat(block.file.get(), &file) < 0 || file.st_blocks != 0)
            return false;
    }
    return true;
}

} // namespace drover::testing
