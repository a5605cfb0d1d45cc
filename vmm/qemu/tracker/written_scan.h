// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "util/fd.h"
#include "util/result.h"
#include "vmm/qemu/tracker/kernel_abi.h"

#include <array>
#include <cerrno>
#include <cstdint>
#include <sys/ioctl.h>
#include <sys/types.h>

namespace drover {

/// /proc/PID/pagemap, on which PAGEMAP_SCAN works.
[[nodiscard]] Result<UniqueFd> open_pagemap(pid_t pid);

/// Finds the pages of [start, end) that are written (or of another category): `report(start, end)`
/// gets each run, as addresses. A hole for which there is no page table counts as written.
/// `flags`: abi::scan_… or 0, which only looks.
template <typename Report>
[[nodiscard]] Status scan_written(int pagemap, uint64_t start, uint64_t end, uint64_t flags,
                                  Report report, uint64_t category = abi::page_is_written)
{
    std::array<abi::PageRegion, 1024> regions;
    abi::PagemapScanArgument argument{};
    argument.size = sizeof argument;
    argument.flags = flags;
    argument.end = end;
    argument.vec = reinterpret_cast<uintptr_t>(regions.data());
    argument.vec_len = regions.size();
    // The same mask twice, and nothing else: the kernel has a fast path for just this.
    argument.category_mask = category;
    argument.return_mask = category;
    for (uint64_t at = start; at < end; at = argument.walk_end) {
        argument.start = at;
        int found;
        do {
            found = ioctl(pagemap, abi::pagemap_scan, &argument);
        } while (found < 0 && errno == EINTR);
        if (found < 0)
            return fail_errno("scanning the guest's RAM for written pages (PAGEMAP_SCAN)", errno);
        for (int i = 0; i < found; ++i)
            report(regions[static_cast<size_t>(i)].start, regions[static_cast<size_t>(i)].end);
        if (argument.walk_end <= at)
            return fail(ErrorKind::System, "PAGEMAP_SCAN made no progress");
    }
    return {};
}

/// Reads and protects again in one step, while the guest runs; for asynchronous protection only.
inline constexpr uint64_t scan_and_protect = abi::scan_wp_matching | abi::scan_check_wpasync;

} // namespace drover
