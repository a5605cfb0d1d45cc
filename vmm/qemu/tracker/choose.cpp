// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/tracker/choose.h"

#include "vmm/qemu/tracker/soft_dirty.h"

#include <cstdlib>
#include <cstring>
#include <string>
#include <sys/stat.h>

namespace drover {

namespace {

/// The mapping of each block, in the blocks' order; with userfaultfds only if `take_userfaultfds`.
/// A file that was mapped twice counts at its last place.
Result<std::vector<BlockMapping>> place_blocks(std::span<const RamBlock> blocks,
                                               std::vector<TrackedMapping>& mappings)
{
    std::vector<BlockMapping> placed;
    for (const RamBlock& block : blocks) {
        struct stat file {};
        if (fstat(block.file.get(), &file) < 0)
            return fail_errno("looking at RAM block " + block.name, errno);
        BlockMapping found;
        for (TrackedMapping& mapping : mappings) {
            const MappingMessage& where = mapping.where;
            if (where.device != file.st_dev || where.inode != file.st_ino || where.offset != 0 ||
                where.length < block.size)
                continue;
            found = {where.address, block.pages(), block.backing_page,
                     std::move(mapping.userfaultfd)};
        }
        if (found.pages == 0)
            return fail(ErrorKind::Machine,
                        "QEMU did not say where it mapped RAM block " + block.name,
                        "was libdrover-tracker.so kept from loading (a static or setuid QEMU)?");
        placed.push_back(std::move(found));
    }
    return placed;
}

bool all_have_userfaultfds(const std::vector<BlockMapping>& blocks)
{
    for (const BlockMapping& block : blocks)
        if (!block.userfaultfd)
            return false;
    return true;
}

} // namespace

Result<std::unique_ptr<DirtyTracker>> choose_tracker(pid_t pid, std::span<const RamBlock> blocks,
                                                     std::vector<TrackedMapping> mappings)
{
    auto placed = place_blocks(blocks, mappings);
    if (!placed)
        return pass(placed);

    const char* variable = getenv("DROVER_TRACKER");
    const std::string wanted = variable ? variable : "";
    if (!wanted.empty() && wanted != "pagemap-scan" && wanted != "soft-dirty")
        return fail(ErrorKind::Invalid, "DROVER_TRACKER names no tracker: " + wanted,
                    "it may be pagemap-scan or soft-dirty");
    Status scan = probe_pagemap_scan();
    if (scan && !all_have_userfaultfds(*placed))
        scan = fail(ErrorKind::System, "QEMU could not make a userfaultfd for its RAM");
    if (scan && wanted != "soft-dirty")
        return make_pagemap_scan_tracker(pid, std::move(*placed));
    Status soft = probe_soft_dirty();
    if (soft && wanted != "pagemap-scan")
        return make_soft_dirty_tracker(pid, std::move(*placed));

    std::string why = "no way to track the guest's writes works on this host";
    if (!scan)
        why += "; pagemap-scan: " + scan.error().message;
    if (!soft)
        why += "; soft-dirty: " + soft.error().message;
    if (!wanted.empty())
        why += "; DROVER_TRACKER asks for " + wanted;
    return fail(ErrorKind::System, why,
                "Linux 6.7 or newer, or a kernel with CONFIG_MEM_SOFT_DIRTY, is needed");
}

} // namespace drover
