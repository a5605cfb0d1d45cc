// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/ram/dirty_tracker.h"
#include "vmm/qemu/tracker/placement.h"

#include <memory>
#include <span>
#include <sys/types.h>

namespace drover {

/// Tracks by PAGEMAP_SCAN (Linux 6.7): written pages are read and protected again in one step, from
/// outside, while the guest runs. The blocks must outlive the tracker. `pid` must be a process that
/// we may ptrace (a child is).
[[nodiscard]] Result<std::unique_ptr<DirtyTracker>>
make_pagemap_scan_tracker(pid_t pid, std::span<const BlockMapping> blocks);

/// Whether this kernel can do it, tried on a page of our own.
[[nodiscard]] Status probe_pagemap_scan();

} // namespace drover
