// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "vmm/qemu/tracker/placement.h"

namespace drover {

/// Gives the mapping's holding userfaultfd its features, which can be done once; more often does no
/// harm. As many of them as the kernel has: who needs one that is not there fails when it registers
/// its range.
[[nodiscard]] Status enable_holding(const BlockMapping& mapping);

} // namespace drover
