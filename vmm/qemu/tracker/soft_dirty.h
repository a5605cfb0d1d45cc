// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/ram/dirty_tracker.h"
#include "vmm/qemu/tracker/placement.h"

#include <memory>
#include <span>
#include <sys/types.h>

namespace drover {

/// Tracks by the soft-dirty bit (Linux 3.11, CONFIG_MEM_SOFT_DIRTY), for kernels without
/// PAGEMAP_SCAN. Reading and clearing the bits are two steps, so the process stands still between
/// them: some milliseconds a collection. `pid` must be a child of ours, so that we learn when all
/// of its threads have stopped. Linux "Documentation/admin-guide/mm/soft-dirty.rst".
[[nodiscard]] Result<std::unique_ptr<DirtyTracker>>
make_soft_dirty_tracker(pid_t pid, std::span<const BlockMapping> blocks);

/// Whether this kernel sets the bit, tried on a page of our own: where the option is off, writing
/// to clear_refs succeeds all the same.
[[nodiscard]] Status probe_soft_dirty();

} // namespace drover
