// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/host/measure/process_files.h"

#include "contrib/balancer/host/measure/words.h"

#include <limits>

namespace drover::balancer::measure {

std::optional<ProcessStat> parse_process_stat(std::string_view text)
{
    // The name in parentheses is the process's own choice: blanks, parentheses, newlines.
    const size_t end = text.rfind(')');
    if (end == text.npos)
        return std::nullopt;
    std::string_view line = text.substr(end + 1);
    line = take_line(line);
    take_word(line); // state
    bool ok = true;
    ProcessStat stat;
    stat.parent = to_number<int>(take_word(line)).value_or(-1);
    for (int i = 0; i < 9; ++i) // process group ... major faults of children
        take_word(line);
    stat.cpu_ticks = take_u64(line, ok);
    stat.cpu_ticks += take_u64(line, ok);
    for (int i = 0; i < 4; ++i) // children's times, priority, nice
        take_word(line);
    stat.threads = take_u64(line, ok);
    return ok && stat.parent >= 0 ? std::optional(stat) : std::nullopt;
}

std::optional<ProcessMemory> parse_process_status(std::string_view text)
{
    ProcessMemory memory;
    const struct {
        std::string_view name;
        uint64_t& value;
    } wanted[] = {{"RssAnon:", memory.own},
                  {"RssShmem:", memory.shared},
                  {"VmSwap:", memory.swapped},
                  {"HugetlbPages:", memory.huge}};
    unsigned next = 0; // they come in this order, and the rest of the file is of no interest
    bool any = false;
    while (!text.empty() && next < std::size(wanted)) {
        std::string_view line = take_line(text);
        if (!line.starts_with(wanted[next].name))
            continue;
        take_word(line);
        bool ok = true;
        const uint64_t kib = take_u64(line, ok);
        if (!ok || kib > std::numeric_limits<uint32_t>::max() * uint64_t(1024))
            return std::nullopt;
        wanted[next++].value += kib * 1024;
        any = true;
    }
    return any ? std::optional(memory) : std::nullopt;
}

std::optional<ThreadTimes> parse_schedstat(std::string_view text)
{
    std::string_view line = take_line(text);
    bool ok = true;
    ThreadTimes times;
    times.run_ns = take_u64(line, ok);
    times.wait_ns = take_u64(line, ok);
    return ok ? std::optional(times) : std::nullopt;
}

} // namespace drover::balancer::measure
