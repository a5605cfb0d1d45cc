// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/ram/page_hold.h"

#include <gtest/gtest.h>
#include <set>
#include <utility>
#include <vector>

namespace drover::testing {

/// A guest's accesses to its RAM, as far as the test makes them.
class FakeHold : public PageHold {
public:
    using Page = std::pair<size_t, uint64_t>; ///< block, page

    Status start(std::span<const PageBitmap> absent,
                 std::function<void(size_t, uint64_t)> touched) override
    {
        absent_.assign(absent.begin(), absent.end());
        touched_ = std::move(touched);
        holding_ = true;
        return {};
    }
    Status let_go(size_t block, uint64_t first, uint64_t count) override
    {
        for (uint64_t page = first; page < first + count; ++page)
            waiting_.erase({block, page});
        return {};
    }
    Status let_go_zero(size_t block, uint64_t page) override { return let_go(block, page, 1); }
    void stop() override
    {
        holding_ = false;
        waiting_.clear();
    }

    /// A vCPU touches the page, and waits if it must.
    void touch(size_t block, uint64_t page)
    {
        if (!holding_)
            return;
        waiting_.insert({block, page});
        touched_(block, page);
    }
    [[nodiscard]] bool waits(size_t block, uint64_t page) const
    {
        return waiting_.contains({block, page});
    }
    [[nodiscard]] bool holding() const { return holding_; }
    /// What was said to be missing at the start.
    [[nodiscard]] const std::vector<PageBitmap>& absent() const { return absent_; }

private:
    std::function<void(size_t, uint64_t)> touched_;
    std::vector<PageBitmap> absent_;
    std::set<Page> waiting_;
    bool holding_ = false;
};

} // namespace drover::testing
