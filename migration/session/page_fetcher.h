// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/ram/page_bitmap.h"
#include "migration/ram/page_hold.h"
#include "migration/ram/ram_block.h"
#include "migration/stream/postcopy.h"
#include "util/clock.h"

#include <functional>
#include <memory>
#include <span>
#include <vector>

namespace drover {

/// The destination's half of post-copy: asks for the pages that the guest or its hypervisor
/// touches, puts what comes in its place, and knows what is missing still. Loop thread only.
class PageFetcher {
public:
    struct Callbacks {
        std::function<void(const stream::PageRequest&)> request;
        std::function<void()> complete; ///< nothing is missing; not from within a call of ours
    };
    struct Counters {
        uint64_t requests = 0;
        uint64_t pages = 0;  ///< that came
        uint64_t bytes = 0;  ///< payload, since link_is_new()
        double waited_s = 0; ///< while somebody stood still for a page
    };

    /// `missing`, one bitmap a block; `ram` and `hold` must outlive the fetcher.
    PageFetcher(std::span<const RamBlock> ram, PageHold& hold, std::vector<PageBitmap> missing,
                Callbacks callbacks);
    ~PageFetcher();
    PageFetcher(const PageFetcher&) = delete;
    PageFetcher& operator=(const PageFetcher&) = delete;

    /// From now on no page that is missing can be seen.
    [[nodiscard]] Status start();

    /// Pages that came. What is not missing is left alone. An error of the kind Protocol is the
    /// peer's fault; any other means that a page could not be put in its place, and stays missing.
    [[nodiscard]] Status take(const stream::PagesView& pages);

    /// After a break: asks for all that is waited for once more.
    void link_is_new();

    [[nodiscard]] uint64_t missing_count() const { return missing_count_; }
    [[nodiscard]] std::span<const PageBitmap> missing() const { return missing_; }
    [[nodiscard]] const Counters& counters() const { return counters_; }

private:
    void touched(size_t block, uint64_t page);
    void ask(size_t block, uint64_t page);
    void let_neighbours_go(size_t block, uint64_t page);
    [[nodiscard]] Status check(const stream::PagesTable& table) const;
    [[nodiscard]] Status place(size_t block, uint64_t first, uint64_t count,
                               std::span<const std::byte> data);
    [[nodiscard]] Status place_zeros(size_t block, uint64_t first, uint64_t count);
    void no_longer_waited(size_t block, uint64_t first, uint64_t count);
    void arrived(size_t block, uint64_t first, uint64_t count);

    std::span<const RamBlock> ram_;
    PageHold& hold_;
    Callbacks callbacks_;
    std::vector<PageBitmap> missing_;
    std::vector<PageBitmap> waited_; ///< somebody stands still for it
    std::vector<PageBitmap> asked_;  ///< over this link
    uint64_t missing_count_ = 0;
    uint64_t waited_count_ = 0; ///< pages in waited_
    TimePoint waiting_since_{}; ///< while there are any
    Counters counters_;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

} // namespace drover
