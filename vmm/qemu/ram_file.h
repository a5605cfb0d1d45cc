// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/ram/ram_block.h"
#include "util/fd.h"
#include "util/result.h"
#include "vmm/qemu/ram_plan.h"

namespace drover::qemu {

/// Creates (or opens, for RamFile::path) the file: close-on-exec, empty, of the block's size
/// rounded up to its page size. Allocates nothing, but reserves huge pages.
[[nodiscard]] Result<UniqueFd> create_ram_file(const RamFile& ram);

/// The same as a block for the engine.
[[nodiscard]] Result<RamBlock> create_ram_block(const RamFile& ram);

/// The page size of the memory behind the file: bytes, 4,096 but for huge pages.
[[nodiscard]] Result<uint64_t> backing_page_size(int fd);

} // namespace drover::qemu
