// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/host/measure/cpu_times.h"

#include "contrib/balancer/host/measure/words.h"

namespace drover::balancer::measure {

namespace {

/// More than any kernel is built for.
constexpr unsigned max_core = 8191;

/// user nice system idle iowait irq softirq steal; guests' time is in user and nice already.
std::optional<CpuTimes> parse_times(std::string_view line)
{
    uint64_t values[8] = {};
    bool ok = true;
    for (uint64_t& value : values)
        value = take_u64(line, ok);
    if (!ok)
        return std::nullopt;
    const auto [user, nice, system, idle, iowait, irq, softirq, steal] = values;
    return CpuTimes{user + nice + system + irq + softirq, idle + iowait, steal};
}

} // namespace

std::optional<ProcStat> parse_proc_stat(std::string_view text)
{
    ProcStat stat;
    bool has_total = false;
    while (text.starts_with("cpu")) {
        std::string_view line = take_line(text);
        const std::string_view id = take_word(line).substr(3);
        const auto times = parse_times(line);
        const auto number = to_number<unsigned>(id);
        if (!times)
            continue;
        if (id.empty()) {
            stat.total = *times;
            has_total = true;
        } else if (number && *number <= max_core && stat.cores.size() <= max_core) {
            stat.cores.push_back({*number, *times});
        }
    }
    return has_total ? std::optional(std::move(stat)) : std::nullopt;
}

} // namespace drover::balancer::measure
