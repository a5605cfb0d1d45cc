// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/judge/text.h"

#include <cmath>
#include <cstdio>

namespace drover::balancer {

namespace {

std::string number(double value, const char* unit)
{
    char text[48];
    snprintf(text, sizeof text, std::abs(value) < 9.95 ? "%.1f %s" : "%.0f %s", value, unit);
    return text;
}

} // namespace

std::string rate_text(double bytes_s)
{
    if (bytes_s >= 1e9)
        return number(bytes_s / 1e9, "GB/s");
    return bytes_s >= 1e6 ? number(bytes_s / 1e6, "MB/s") : number(bytes_s / 1e3, "kB/s");
}

std::string text_of(Resource resource, double value)
{
    if (resource == Resource::Cpu)
        return number(value, "cores");
    if (resource != Resource::Memory)
        return rate_text(value);
    return value >= 1 << 30 ? number(value / (1 << 30), "GiB") : number(value / (1 << 20), "MiB");
}

std::string percent(double part)
{
    return std::to_string(std::lround(part * 100)) + " %";
}

std::string seconds_text(double seconds)
{
    if (seconds < 0.9995)
        return number(seconds * 1e3, "ms");
    return seconds < 600 ? number(seconds, "s") : number(seconds / 60, "min");
}

std::string_view words_of(Resource resource)
{
    switch (resource) {
    case Resource::Cpu: return "processor";
    case Resource::Memory: return "memory";
    case Resource::Rx: return "network (to its guests)";
    case Resource::Tx: return "network (from its guests)";
    }
    return "";
}

} // namespace drover::balancer
