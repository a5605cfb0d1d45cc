// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/tracker/choose.h"

#include "vmm/qemu/tracker/pagemap_scan.h"
#include "vmm/qemu/tracker/soft_dirty.h"

#include <cstdlib>
#include <string>

namespace drover {

namespace {

bool all_have_userfaultfds(std::span<const BlockMapping> blocks)
{
    for (const BlockMapping& block : blocks)
        if (!block.userfaultfd)
            return false;
    return true;
}

} // namespace

Result<std::unique_ptr<DirtyTracker>> choose_tracker(pid_t pid,
                                                     std::span<const BlockMapping> blocks)
{
    const char* variable = getenv("DROVER_TRACKER");
    const std::string wanted = variable ? variable : "";
    if (!wanted.empty() && wanted != "pagemap-scan" && wanted != "soft-dirty")
        return fail(ErrorKind::Invalid, "DROVER_TRACKER names no tracker: " + wanted,
                    "it may be pagemap-scan or soft-dirty");
    Status scan = probe_pagemap_scan();
    if (scan && !all_have_userfaultfds(blocks))
        scan = fail(ErrorKind::System, "QEMU could not make a userfaultfd for its RAM");
    if (scan && wanted != "soft-dirty")
        return make_pagemap_scan_tracker(pid, blocks);
    Status soft = probe_soft_dirty();
    if (soft && wanted != "pagemap-scan") {
        auto tracker = make_soft_dirty_tracker(pid, blocks);
        if (tracker)
            return tracker;
        if (tracker.error().kind == ErrorKind::Refused) // says what to do by itself
            return tracker;
        soft = pass(tracker);
    }

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
