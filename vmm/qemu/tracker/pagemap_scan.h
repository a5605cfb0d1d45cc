// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/ram/dirty_tracker.h"
#include "util/fd.h"

#include <memory>
#include <sys/types.h>
#include <vector>

namespace drover {

/// Where one RAM block is mapped in the process that runs the guest.
struct BlockMapping {
    uint64_t address = 0; ///< in that process
    uint64_t pages = 0;
    uint64_t backing_page = 4096; ///< bytes
    UniqueFd userfaultfd;         ///< in asynchronous write-protect mode; not needed by soft-dirty
};

/// Tracks by PAGEMAP_SCAN (Linux 6.7): written pages are read and protected again in one step, from
/// outside, while the guest runs. `pid` must be a process that we may ptrace (a child is).
[[nodiscard]] Result<std::unique_ptr<DirtyTracker>>
make_pagemap_scan_tracker(pid_t pid, std::vector<BlockMapping> blocks);

/// Whether this kernel can do it, tried on a page of our own.
[[nodiscard]] Status probe_pagemap_scan();

} // namespace drover
