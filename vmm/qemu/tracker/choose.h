// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/ram/ram_block.h"
#include "vmm/qemu/tracker/handover.h"
#include "vmm/qemu/tracker/pagemap_scan.h"

#include <memory>
#include <span>
#include <vector>

namespace drover {

/// The best tracker that works here, for the given blocks of the child process `pid`: PAGEMAP_SCAN
/// where the kernel has it and the preloaded library did its work, else soft-dirty. The environment
/// variable DROVER_TRACKER (pagemap-scan, soft-dirty) insists on one. The error says why neither
/// works and what to do.
[[nodiscard]] Result<std::unique_ptr<DirtyTracker>>
choose_tracker(pid_t pid, std::span<const RamBlock> blocks, std::vector<TrackedMapping> mappings);

} // namespace drover
