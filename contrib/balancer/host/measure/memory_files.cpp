// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/host/measure/memory_files.h"

#include "contrib/balancer/host/measure/words.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace drover::balancer::measure {

namespace {

constexpr uint64_t max_kib = std::numeric_limits<uint64_t>::max() / 1024;

std::optional<double> parse_avg10(std::string_view line)
{
    const std::string_view word = take_word(line);
    const std::string_view head = "avg10=";
    if (!word.starts_with(head))
        return std::nullopt;
    const auto percent = to_number<double>(word.substr(head.size()));
    if (!percent || !std::isfinite(*percent))
        return std::nullopt;
    return std::clamp(*percent / 100, 0.0, 1.0);
}

} // namespace

std::optional<MemoryInfo> parse_meminfo(std::string_view text)
{
    MemoryInfo info;
    const struct {
        std::string_view name;
        uint64_t& value;
    } wanted[] = {{"MemTotal:", info.total},
                  {"MemAvailable:", info.available},
                  {"SwapTotal:", info.swap_total},
                  {"SwapFree:", info.swap_free}};
    unsigned found = 0;
    while (!text.empty() && found != 0b1111) {
        std::string_view line = take_line(text);
        const std::string_view name = take_word(line);
        for (unsigned i = 0; i < std::size(wanted); ++i) {
            bool ok = name == wanted[i].name;
            const uint64_t kib = ok ? take_u64(line, ok) : 0;
            if (ok && kib <= max_kib) {
                wanted[i].value = kib * 1024;
                found |= 1U << i;
            }
        }
    }
    return (found & 0b11) == 0b11 ? std::optional(info) : std::nullopt;
}

std::optional<SwapCounts> parse_vmstat(std::string_view text)
{
    std::optional<uint64_t> in;
    std::optional<uint64_t> out;
    while (!text.empty() && (!in || !out)) {
        std::string_view line = take_line(text);
        if (!line.starts_with("pswp"))
            continue;
        const std::string_view name = take_word(line);
        const auto value = to_number<uint64_t>(take_word(line));
        if (name == "pswpin")
            in = value;
        if (name == "pswpout")
            out = value;
    }
    if (!in || !out)
        return std::nullopt;
    return SwapCounts{*in, *out};
}

std::optional<Pressure> parse_pressure(std::string_view text)
{
    std::optional<double> some;
    double full = 0;
    while (!text.empty()) {
        std::string_view line = take_line(text);
        const std::string_view kind = take_word(line);
        if (kind == "some")
            some = parse_avg10(line);
        if (kind == "full")
            full = parse_avg10(line).value_or(0);
    }
    if (!some)
        return std::nullopt;
    return Pressure{*some, full};
}

} // namespace drover::balancer::measure
