// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/load/load.h"

#include <cstdint>
#include <optional>
#include <string_view>

namespace drover::balancer::measure {

/// Bytes.
struct MemoryInfo {
    uint64_t total = 0;
    uint64_t available = 0;
    uint64_t swap_total = 0;
    uint64_t swap_free = 0;
};

/// /proc/meminfo. Nothing without MemTotal and MemAvailable.
[[nodiscard]] std::optional<MemoryInfo> parse_meminfo(std::string_view text);

/// Pages since the machine started.
struct SwapCounts {
    uint64_t in = 0;
    uint64_t out = 0;
};

/// /proc/vmstat. Nothing where the kernel was built without swap.
[[nodiscard]] std::optional<SwapCounts> parse_vmstat(std::string_view text);

/// A file of /proc/pressure or a cgroup's *.pressure: the means over ten seconds, which the kernel
/// keeps. Nothing without "some"; "full" is not there for processors on old kernels.
[[nodiscard]] std::optional<Pressure> parse_pressure(std::string_view text);

} // namespace drover::balancer::measure
