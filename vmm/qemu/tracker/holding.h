// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "vmm/qemu/tracker/placement.h"

namespace drover {

/// Gives the block's holding userfaultfd the features for everything that it is used for (the write
/// governor, post-copy), or as many as the kernel has. A userfaultfd takes them once: whoever comes
/// first does it, and a second call changes nothing. Returns the features in force,
/// abi::uffd_feature_…. The error says why nothing can be held here.
[[nodiscard]] Result<uint64_t> enable_holding(const BlockMapping& block);

} // namespace drover
