// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/host/measure/proc_file.h"
#include "contrib/balancer/load/load.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace drover::balancer::measure {

/// What a control group's processes use. Of both versions; what a version or an older kernel does
/// not tell is not there.
struct CgroupUsage {
    std::optional<uint64_t> cpu_ns;
    std::optional<uint64_t> throttled_ns; ///< they wanted to run, and the quota was used up
    std::optional<uint64_t> memory;       ///< bytes, without what is only a cache of files
    std::optional<uint64_t> memory_limit; ///< nothing: none
    std::optional<uint64_t> swap;         ///< bytes
    std::optional<uint64_t> swapped_in;   ///< pages since it was made
    std::optional<uint64_t> swapped_out;
    std::optional<uint64_t> major_faults; ///< pages read from swap or from files
};

/// Version 2's cpu.stat.
void parse_cpu_stat(std::string_view text, CgroupUsage& usage);
/// Version 1's cpu.stat: the throttled time only.
void parse_cpu_stat_v1(std::string_view text, CgroupUsage& usage);
/// memory.stat of version 2, and of version 1.
void parse_memory_stat(std::string_view text, CgroupUsage& usage);
void parse_memory_stat_v1(std::string_view text, CgroupUsage& usage);
/// A file of one number of bytes. Nothing for "max", and for version 1's number that means it.
[[nodiscard]] std::optional<uint64_t> parse_bytes(std::string_view text);

/// Reads one group. One thread at a time.
class Cgroup {
public:
    /// `root` is "/" but for tests; `name` as /proc/PID/cgroup has it, such as "drover.slice".
    Cgroup(const std::string& root, const std::string& name);

    [[nodiscard]] CgroupUsage read(ReadBuffer& buffer);

    /// Version 2 only: `what` is "cpu", "memory" or "io".
    [[nodiscard]] std::optional<Pressure> pressure(const char* what, ReadBuffer& buffer);

private:
    bool v2_ = false;
    ProcFile cpu_stat_;
    ProcFile cpu_usage_; // version 1
    ProcFile memory_stat_;
    ProcFile memory_limit_;
    ProcFile swap_; // version 2
    ProcFile cpu_pressure_;
    ProcFile memory_pressure_;
    ProcFile io_pressure_;
};

} // namespace drover::balancer::measure
