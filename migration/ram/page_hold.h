// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/ram/page_bitmap.h"
#include "util/result.h"

#include <cstdint>
#include <functional>
#include <span>

namespace drover {

/// Post-copy's other half of guest RAM: who touches a page that is not here yet waits for it, the
/// guest's vCPUs and the hypervisor alike. Loop thread only.
class PageHold {
public:
    virtual ~PageHold() = default;

    /// From its return on an access to any page waits until the page was let go. `absent`, one
    /// bitmap a block, are those that are known not to be right. `touched` is called, later, for
    /// each page that somebody waits for; it may be called twice.
    [[nodiscard]] virtual Status
    start(std::span<const PageBitmap> absent,
          std::function<void(size_t block, uint64_t page)> touched) = 0;

    /// The pages [first, first + count) are right in the RAM file: accesses to them go on. Those of
    /// them that are holes wait for let_go_zero().
    [[nodiscard]] virtual Status let_go(size_t block, uint64_t first, uint64_t count) = 0;

    /// The page is right, and a hole: reads as zero.
    [[nodiscard]] virtual Status let_go_zero(size_t block, uint64_t page) = 0;

    /// All pages are right: nobody waits any more. May be called more than once.
    virtual void stop() = 0;
};

} // namespace drover
