// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace drover::balancer::measure {

/// Clock ticks since the machine started (sysconf(_SC_CLK_TCK) a second).
struct CpuTimes {
    uint64_t busy = 0;  ///< in any mode, guests' time too
    uint64_t idle = 0;  ///< waiting for storage too
    uint64_t steal = 0; ///< another guest of the hypervisor below us ran
};

struct ProcStat {
    struct Core {
        unsigned id = 0;
        CpuTimes times;
    };
    CpuTimes total;
    std::vector<Core> cores; ///< those that are online
};

/// /proc/stat. Nothing if the line of the sum is not there.
[[nodiscard]] std::optional<ProcStat> parse_proc_stat(std::string_view text);

} // namespace drover::balancer::measure
