// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/ram/page_hold.h"
#include "migration/ram/ram_block.h"
#include "vmm/qemu/tracker/placement.h"

#include <memory>
#include <span>
#include <sys/types.h>

namespace drover {

/// A PageHold by userfaultfd (Linux 5.14), for the RAM that process `pid` has mapped. Accesses wait
/// in two cases: the page is not in the process's page tables (a "minor" fault: the page may be in
/// the file, right or out of date), or not in the file at all (a "missing" one). So nothing needs
/// to be taken out of the file first, however much is out of date.
///
/// Source: Linux "Documentation/admin-guide/mm/userfaultfd.rst".
/// `ram` and `mappings` must outlive it. The error says why this host permits it not.
[[nodiscard]] Result<std::unique_ptr<PageHold>>
make_userfault_hold(pid_t pid, std::span<const RamBlock> ram,
                    std::span<const BlockMapping> mappings);

} // namespace drover
