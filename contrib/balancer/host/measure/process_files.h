// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace drover::balancer::measure {

/// /proc/PID/stat.
struct ProcessStat {
    int parent = 0;
    uint64_t cpu_ticks = 0; ///< of all its threads, ended ones too; user and system
    uint64_t threads = 0;
};
[[nodiscard]] std::optional<ProcessStat> parse_process_stat(std::string_view text);

/// /proc/PID/status, in bytes. Shared memory apart: several processes may map the same.
struct ProcessMemory {
    /// Resident and anonymous. Pages of files (the emulator's own program) are there once for all
    /// emulators, and the kernel can drop them.
    uint64_t own = 0;
    uint64_t shared = 0;  ///< resident, shared memory (memfd, tmpfs)
    uint64_t swapped = 0; ///< of `own`: the kernel does not count shared memory here
    uint64_t huge = 0;    ///< of hugetlbfs, which is neither of them
};
/// Nothing if it has no memory (a kernel thread, a process that ended).
[[nodiscard]] std::optional<ProcessMemory> parse_process_status(std::string_view text);

/// /proc/PID/task/TID/schedstat.
struct ThreadTimes {
    uint64_t run_ns = 0;
    uint64_t wait_ns = 0; ///< it could run, and another ran
};
[[nodiscard]] std::optional<ThreadTimes> parse_schedstat(std::string_view text);

} // namespace drover::balancer::measure
