// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/state/pic.h"
#include "vmm/xen/state/hvm_chip_layout.h"

namespace drover::xen {

/// `lines`: the chip's inputs as they are now, of which it saw the edges.
[[nodiscard]] Result<state::PicChip> read_pic(const HvmPic& pic, bool master, uint8_t lines);
[[nodiscard]] HvmPic pic_of(const state::PicChip& chip, bool master);

} // namespace drover::xen
