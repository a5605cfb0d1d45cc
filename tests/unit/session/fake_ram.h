// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/ram/dirty_tracker.h"
#include "migration/ram/ram_block.h"

#include <functional>
#include <gtest/gtest.h>
#include <mutex>
#include <string>
#include <vector>

namespace drover::testing {

struct FakeBlock {
    std::string name;
    uint64_t pages = 0;
};

/// A page's worth of bytes that only `seed` decides; none is all zero.
[[nodiscard]] std::vector<std::byte> page_content(uint64_t seed);

/// The RAM of a guest that writes only when the test says so, and its dirty tracker. As with the
/// real trackers, a write and its being noted are one step.
class FakeRam : public DirtyTracker {
public:
    FakeRam(const std::vector<FakeBlock>& blocks, bool collects_ranges);

    [[nodiscard]] std::span<const RamBlock> blocks() const { return blocks_; }

    // What the guest does; any thread. Nothing happens, and false is returned, while it stands
    // still.
    bool write(size_t block, uint64_t page, uint64_t seed);
    /// What a device or a reset writes while the guest stands still.
    void write_paused(size_t block, uint64_t page, uint64_t seed);
    /// A fault: the tracker does not notice.
    void write_unseen(size_t block, uint64_t page, uint64_t seed);
    /// Only the tracker notices: as with the rest of a huge page of which one byte is written.
    void touch(size_t block, uint64_t page);
    bool write_zeros(size_t block, uint64_t page);
    /// A balloon takes the pages: the tracker does not see it.
    bool give_back(size_t block, uint64_t page, uint64_t count);
    void set_running(bool running);
    [[nodiscard]] bool running();

    /// Called by the sender's threads just before they collect; the count is from 1.
    std::function<void(unsigned count)> before_collect_all;
    std::function<void(size_t block, uint64_t first)> before_collect;
    bool fail_collect_all = false;
    bool coarse = false;

    std::string_view name() const override { return "fake"; }
    bool is_coarse(size_t) const override { return coarse; }
    Status start() override;
    bool collects_ranges() const override { return collects_ranges_; }
    Status collect(size_t block, uint64_t first, uint64_t end, PageBitmap& dirty) override;
    Status collect_all(std::span<PageBitmap> dirty) override;
    void stop() override;
    [[nodiscard]] bool tracking();

private:
    bool put(size_t block, uint64_t page, std::span<const std::byte> content);
    void move_bits(size_t block, uint64_t first, uint64_t end, PageBitmap& dirty);

    std::vector<RamBlock> blocks_;
    bool collects_ranges_;
    unsigned collections_ = 0; ///< used by one thread at a time
    std::mutex mutex_;
    bool running_ = false;          // guarded by mutex_
    bool tracking_ = false;         // guarded by mutex_
    std::vector<PageBitmap> dirty_; // guarded by mutex_
};

/// Byte by byte; and `copy` uses memory for no page that holds only zeros.
[[nodiscard]] ::testing::AssertionResult same_ram(const FakeRam& original, const FakeRam& copy);

/// Nothing was ever written to it.
[[nodiscard]] bool is_untouched(const FakeRam& ram);

} // namespace drover::testing
