// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/ram/dirty_tracker.h"
#include "vmm/qemu/tracker/placement.h"

#include <memory>
#include <span>
#include <sys/types.h>

namespace drover {

/// A tracker that can make the guest wait at the first write to each clean page, until somebody
/// answers. It goes on to track meanwhile. All of this may be called while others collect.
class HoldingTracker : public DirtyTracker {
public:
    /// Whether the writers of this RAM can be held on this host; the error says why not.
    [[nodiscard]] virtual Status can_hold() const = 0;

    /// Takes the next piece of RAM. `hold`: from now on whoever writes to a page of it that was not
    /// written since it was last collected waits; the fault is to be read from the block's
    /// `holding`. Else nobody waits there any more; who still answers must do so until then. The
    /// guest stands still meanwhile, a millisecond or two: returned is for how long, in seconds; 0
    /// if no piece was left. By one thread at a time.
    [[nodiscard]] virtual Result<double> hold_next(bool hold) = 0;

    /// Answers for the page at this address of the block.
    [[nodiscard]] virtual Status let_write(size_t block, uint64_t address) = 0;
};

/// Tracks by PAGEMAP_SCAN (Linux 6.7): written pages are read and protected again in one step, from
/// outside, while the guest runs. The blocks must outlive the tracker.
[[nodiscard]] Result<std::unique_ptr<HoldingTracker>>
make_pagemap_scan_tracker(pid_t pid, std::span<const BlockMapping> blocks);

/// Whether this kernel can do it, tried on a page of our own.
[[nodiscard]] Status probe_pagemap_scan();

} // namespace drover
