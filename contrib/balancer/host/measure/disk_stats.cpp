// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/host/measure/disk_stats.h"

#include "contrib/balancer/host/measure/words.h"

#include <algorithm>
#include <unistd.h>

namespace drover::balancer::measure {

namespace {

/// /proc/diskstats counts in these, whatever the disk's own blocks are.
constexpr uint64_t sector = 512;
constexpr size_t max_disks = 1024;

std::optional<DiskCounts> parse_disk(std::string_view line)
{
    bool ok = true;
    take_u64(line, ok); // major
    take_u64(line, ok); // minor
    DiskCounts counts;
    counts.name = take_word(line);
    uint64_t values[10] = {};
    for (uint64_t& value : values)
        value = take_u64(line, ok);
    if (!ok || counts.name.empty() || counts.name.find('/') != counts.name.npos)
        return std::nullopt;
    const auto [reads, reads_merged, read_sectors, read_ms, writes, writes_merged, written_sectors,
                write_ms, in_flight, busy_ms] = values;
    counts.requests = reads + writes;
    counts.request_ms = read_ms + write_ms;
    counts.read_bytes = read_sectors * sector;
    counts.written_bytes = written_sectors * sector;
    counts.busy_ms = busy_ms;
    return counts;
}

} // namespace

std::vector<DiskCounts> parse_diskstats(std::string_view text)
{
    std::vector<DiskCounts> disks;
    while (!text.empty() && disks.size() < max_disks) {
        const auto counts = parse_disk(take_line(text));
        if (counts && counts->requests > 0)
            disks.push_back(*counts);
    }
    return disks;
}

bool DiskRates::is_whole_disk(const std::string& name) const
{
    for (const char* prefix : {"loop", "ram", "zram", "."}) {
        if (name.starts_with(prefix))
            return false;
    }
    return access((root_ + "/sys/block/" + name).c_str(), F_OK) == 0;
}

DiskLoad DiskRates::advance(Disk& disk, const DiskCounts& counts, double elapsed)
{
    DiskLoad load;
    load.name = counts.name;
    load.read = disk.read.rate(counts.read_bytes, elapsed);
    load.write = disk.written.rate(counts.written_bytes, elapsed);
    load.busy = std::min(1.0, disk.busy_ms.rate(counts.busy_ms, elapsed) / 1e3);
    const auto requests = static_cast<double>(disk.requests.grow(counts.requests));
    const auto took_ms = static_cast<double>(disk.request_ms.grow(counts.request_ms));
    load.latency = requests > 0 ? took_ms / requests / 1e3 : 0;
    return load;
}

std::vector<DiskLoad> DiskRates::update(std::string_view diskstats, double elapsed)
{
    std::vector<DiskLoad> loads;
    for (auto& [name, disk] : disks_)
        disk.seen = false;
    for (const DiskCounts& counts : parse_diskstats(diskstats)) {
        auto found = disks_.find(counts.name);
        if (found == disks_.end()) {
            found = disks_.emplace(counts.name, Disk()).first;
            found->second.counts = is_whole_disk(found->first);
        }
        found->second.seen = true;
        if (found->second.counts)
            loads.push_back(advance(found->second, counts, elapsed));
    }
    std::erase_if(disks_, [](const auto& entry) { return !entry.second.seen; });
    return loads;
}

} // namespace drover::balancer::measure
