// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/host/measure/counter.h"
#include "contrib/balancer/load/load.h"

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace drover::balancer::measure {

/// What a block device has done since it is there.
struct DiskCounts {
    std::string_view name;   ///< in the text that was parsed
    uint64_t requests = 0;   ///< ended, reads and writes
    uint64_t request_ms = 0; ///< what they took, summed
    uint64_t read_bytes = 0;
    uint64_t written_bytes = 0;
    uint64_t busy_ms = 0; ///< with something in flight
};

/// /proc/diskstats. Lines that are none are passed over, and devices that never did anything.
[[nodiscard]] std::vector<DiskCounts> parse_diskstats(std::string_view text);

/// Rates of the disks that count: all but partitions, loop devices, and memory (ram, zram).
class DiskRates {
public:
    /// `root` is "/" but for tests.
    explicit DiskRates(std::string root) : root_(std::move(root)) {}

    /// `elapsed` in seconds since the call before.
    [[nodiscard]] std::vector<DiskLoad> update(std::string_view diskstats, double elapsed);

private:
    struct Disk {
        bool counts = false;
        bool seen = false;
        Counter requests;
        Counter request_ms;
        Counter read;
        Counter written;
        Counter busy_ms;
    };

    [[nodiscard]] bool is_whole_disk(const std::string& name) const;
    static DiskLoad advance(Disk& disk, const DiskCounts& counts, double elapsed);

    std::string root_;
    std::map<std::string, Disk, std::less<>> disks_;
};

} // namespace drover::balancer::measure
