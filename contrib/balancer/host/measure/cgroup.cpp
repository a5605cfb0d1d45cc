// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/host/measure/cgroup.h"

#include "contrib/balancer/host/measure/memory_files.h"
#include "contrib/balancer/host/measure/words.h"

#include <limits>
#include <unistd.h>

namespace drover::balancer::measure {

namespace {

/// Version 1 says "no limit" by the greatest number of whole pages; nobody has an exabyte.
constexpr uint64_t no_limit = uint64_t(1) << 60;

template <typename Each> void for_each_key(std::string_view text, Each each)
{
    while (!text.empty()) {
        std::string_view line = take_line(text);
        const std::string_view name = take_word(line);
        if (const auto value = to_number<uint64_t>(take_word(line)))
            each(name, *value);
    }
}

void add(std::optional<uint64_t>& sum, uint64_t value)
{
    sum = sum.value_or(0) + value;
}

std::optional<uint64_t> times_1000(uint64_t value)
{
    if (value > std::numeric_limits<uint64_t>::max() / 1000)
        return std::nullopt;
    return value * 1000;
}

} // namespace

void parse_cpu_stat(std::string_view text, CgroupUsage& usage)
{
    for_each_key(text, [&](std::string_view name, uint64_t value) {
        if (name == "usage_usec")
            usage.cpu_ns = times_1000(value);
        if (name == "throttled_usec")
            usage.throttled_ns = times_1000(value);
    });
}

void parse_cpu_stat_v1(std::string_view text, CgroupUsage& usage)
{
    for_each_key(text, [&](std::string_view name, uint64_t value) {
        if (name == "throttled_time")
            usage.throttled_ns = value;
    });
}

void parse_memory_stat(std::string_view text, CgroupUsage& usage)
{
    for_each_key(text, [&](std::string_view name, uint64_t value) {
        if (name == "anon" || name == "shmem" || name == "kernel")
            add(usage.memory, value);
        if (name == "pswpin")
            usage.swapped_in = value;
        if (name == "pswpout")
            usage.swapped_out = value;
        if (name == "pgmajfault")
            usage.major_faults = value;
    });
}

void parse_memory_stat_v1(std::string_view text, CgroupUsage& usage)
{
    for_each_key(text, [&](std::string_view name, uint64_t value) {
        if (name == "total_rss" || name == "total_shmem")
            add(usage.memory, value);
        if (name == "total_swap")
            usage.swap = value;
        if (name == "total_pgmajfault")
            usage.major_faults = value;
    });
}

std::optional<uint64_t> parse_bytes(std::string_view text)
{
    std::string_view line = take_line(text);
    const auto value = to_number<uint64_t>(take_word(line));
    return value && *value < no_limit ? value : std::nullopt;
}

Cgroup::Cgroup(const std::string& root, const std::string& name)
{
    const std::string top = root + "/sys/fs/cgroup/";
    v2_ = access((top + "cgroup.controllers").c_str(), F_OK) == 0;
    const std::string cpu = v2_ ? top + name : top + "cpu/" + name;
    const std::string memory = v2_ ? top + name : top + "memory/" + name;
    cpu_stat_ = ProcFile(cpu + "/cpu.stat");
    memory_stat_ = ProcFile(memory + "/memory.stat");
    memory_limit_ = ProcFile(memory + (v2_ ? "/memory.max" : "/memory.limit_in_bytes"));
    if (v2_) {
        swap_ = ProcFile(memory + "/memory.swap.current");
        cpu_pressure_ = ProcFile(cpu + "/cpu.pressure");
        memory_pressure_ = ProcFile(memory + "/memory.pressure");
        io_pressure_ = ProcFile(memory + "/io.pressure");
    } else {
        cpu_usage_ = ProcFile(top + "cpuacct/" + name + "/cpuacct.usage");
    }
}

CgroupUsage Cgroup::read(ReadBuffer& buffer)
{
    CgroupUsage usage;
    if (const auto text = cpu_stat_.read(buffer))
        v2_ ? parse_cpu_stat(*text, usage) : parse_cpu_stat_v1(*text, usage);
    if (const auto text = memory_stat_.read(buffer))
        v2_ ? parse_memory_stat(*text, usage) : parse_memory_stat_v1(*text, usage);
    if (const auto text = memory_limit_.read(buffer))
        usage.memory_limit = parse_bytes(*text);
    if (const auto text = swap_.read(buffer))
        usage.swap = parse_bytes(*text);
    if (auto text = cpu_usage_.read(buffer))
        usage.cpu_ns = to_number<uint64_t>(take_line(*text));
    return usage;
}

std::optional<Pressure> Cgroup::pressure(const char* what, ReadBuffer& buffer)
{
    const std::string_view name = what;
    ProcFile& file = name == "cpu"      ? cpu_pressure_
                     : name == "memory" ? memory_pressure_
                                        : io_pressure_;
    const auto text = file.read(buffer);
    return text ? parse_pressure(*text) : std::nullopt;
}

} // namespace drover::balancer::measure
