// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/ram/dirty_tracker.h"
#include "vmm/qemu/tracker/placement.h"

#include <memory>
#include <span>
#include <sys/types.h>

namespace drover {

/// Tracks by the soft-dirty bit (Linux 3.11, CONFIG_MEM_SOFT_DIRTY; 5.14 for its witness), for
/// kernels without PAGEMAP_SCAN. Reading and clearing the bits are two steps, so the process stands
/// still between them (see Standstill): some milliseconds a collection. Linux
/// "Documentation/admin-guide/mm/soft-dirty.rst".
///
/// The bit is in the page table only. A page that the kernel takes out of it (swap, reclaim) loses
/// it; so each page that is not there, or that a RamWitness says was not there for a moment, counts
/// as written, at that collection and the next one.
[[nodiscard]] Result<std::unique_ptr<DirtyTracker>>
make_soft_dirty_tracker(pid_t pid, std::span<const BlockMapping> blocks);

/// Those of the pages that hold data. They should be few: each is asked for by itself, since a walk
/// by stretches goes through all that lies between.
[[nodiscard]] PageBitmap data_among(const RamBlock& block, const PageBitmap& pages);

/// Counts as written what is lacking in a page table `now`, and what was lacking at the last look
/// (`absent`, which is then `now`): until this look anything may have been done to it unseen.
void count_absent(PageBitmap now, PageBitmap& absent, PageBitmap& dirty);

/// Whether this kernel sets the bit, tried on a page of our own: where the option is off, writing
/// to clear_refs succeeds all the same.
[[nodiscard]] Status probe_soft_dirty();

} // namespace drover
