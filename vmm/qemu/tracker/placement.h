// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/ram/ram_block.h"
#include "vmm/qemu/tracker/handover.h"

#include <span>
#include <vector>

namespace drover {

/// Where one RAM block is mapped in the process that runs the guest, and the kernel's handles on
/// that mapping. A mapping belongs to one userfaultfd at a time; it begins with `userfaultfd`.
struct BlockMapping {
    uint64_t address = 0; ///< in that process
    uint64_t pages = 0;
    uint64_t backing_page = ram_page_size; ///< bytes
    UniqueFd userfaultfd;  ///< asynchronous write protection, registered; none on older kernels
    UniqueFd holding;      ///< not registered: can make accesses wait. None without the right to it
    int holding_error = 0; ///< errno, where there is none
    RamBlock ram;          ///< with a descriptor of its own
};

/// The mapping of each block, in the blocks' order. A file that was mapped twice counts at its last
/// place. Fails if the library did not announce one.
[[nodiscard]] Result<std::vector<BlockMapping>> place_blocks(std::span<const RamBlock> blocks,
                                                             std::vector<TrackedMapping> mappings);

} // namespace drover
