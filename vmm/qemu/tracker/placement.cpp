// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/tracker/placement.h"

#include <cerrno>
#include <sys/stat.h>

namespace drover {

Result<std::vector<BlockMapping>> place_blocks(std::span<const RamBlock> blocks,
                                               std::vector<TrackedMapping> mappings)
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
            found = {where.address,
                     block.pages(),
                     block.backing_page,
                     std::move(mapping.userfaultfd),
                     std::move(mapping.holding),
                     where.holding_error,
                     {}};
        }
        if (found.pages == 0)
            return fail(ErrorKind::Machine,
                        "QEMU did not say where it mapped RAM block " + block.name,
                        "was libdrover-tracker.so kept from loading (a static QEMU, or one with "
                        "setuid or file "
                        "capabilities)?");
        auto descriptor = block.file.duplicate();
        if (!descriptor)
            return pass(descriptor);
        found.ram = {block.name, block.size, block.backing_page, std::move(*descriptor)};
        placed.push_back(std::move(found));
    }
    return placed;
}

} // namespace drover
