// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/ram/dirty_tracker.h"
#include "vmm/qemu/tracker/placement.h"

#include <memory>
#include <span>
#include <sys/types.h>

namespace drover {

/// The best tracker that works here, for the blocks (which must outlive it) as they are mapped in
/// the process `pid`: PAGEMAP_SCAN where the kernel has it and the preloaded library did its work,
/// else soft-dirty. The environment variable DROVER_TRACKER (pagemap-scan, soft-dirty) insists on
/// one. The error says why neither works and what to do.
[[nodiscard]] Result<std::unique_ptr<DirtyTracker>>
choose_tracker(pid_t pid, std::span<const BlockMapping> blocks);

} // namespace drover
