// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/ram/ram_mapping.h"
#include "util/result.h"
#include "vmm/qemu/tracker/placement.h"

#include <memory>
#include <span>
#include <sys/types.h>

namespace drover {

/// Guest RAM in the process `pid`, by its /proc/PID/mem (proc(5)): the file stays that process's
/// address space, whoever has its number later. Fails without the right to trace the process.
[[nodiscard]] Result<std::unique_ptr<RamMapping>>
map_process_ram(pid_t pid, std::span<const BlockMapping> mappings);

} // namespace drover
