// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "monitor/json.h"
#include "util/result.h"
#include "vmm/qemu/state/pc_memory.h"

namespace drover::xen {

/// Where a domain's RAM lies; `config` is its configuration as libxl understands it.
[[nodiscard]] qemu::PcMemory ram_layout(uint64_t memory, const Json& config);

/// The hole below 4 GiB that a domain needs for its RAM to lie so: mmio_hole of xl's configuration,
/// MiB; 0: that which it has anyway.
[[nodiscard]] uint64_t hole_for(const qemu::PcMemory& layout);

/// Whether a guest of QEMU's, as its source describes it, has its RAM where the domain has it.
[[nodiscard]] Status check_layout(const Json& source, const qemu::PcMemory& domain);

/// Where a guest of QEMU's has its RAM.
[[nodiscard]] qemu::PcMemory layout_of_source(const Json& source, uint64_t memory);

} // namespace drover::xen
