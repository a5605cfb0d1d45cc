// SPDX-License-Identifier: GPL-2.0-or-later
#include "tools/migration_progress.h"

#include <algorithm>
#include <cinttypes>
#include <cstdio>

namespace drover::tools {

namespace {

double megabytes(uint64_t bytes)
{
    return static_cast<double>(bytes) / 1e6;
}

std::string bar(double share, unsigned columns)
{
    if (columns == 0)
        return {};
    const auto filled = static_cast<unsigned>(share * columns);
    return "[" + std::string(filled, '#') + std::string(columns - filled, '-') + "] ";
}

} // namespace

MigrationStats MigrationStats::parse(const Json& info)
{
    MigrationStats stats;
    stats.status = json_string(info, "status", "none");
    stats.error = json_string(info, "error-desc");
    stats.total_ms = json_u64(info, "total-time");
    stats.downtime_ms = json_u64(info, "downtime");
    const Json ram = info.is_object() ? info.value("ram", Json::object()) : Json::object();
    stats.total = json_u64(ram, "total");
    stats.transferred = json_u64(ram, "transferred");
    stats.remaining = json_u64(ram, "remaining");
    stats.round = json_u64(ram, "dirty-sync-count");
    stats.dirty_pages_per_s = json_u64(ram, "dirty-pages-rate");
    stats.mbit_per_s = json_quantity(ram, "mbps");
    const Json drover = info.is_object() ? info.value("drover", Json::object()) : Json::object();
    const Json away =
        drover.is_object() ? drover.value("reconnecting", Json::object()) : Json::object();
    stats.link_error = json_string(away, "reason");
    stats.link_away_s = json_quantity(away, "seconds");
    return stats;
}

bool MigrationStats::over() const
{
    return status == "completed" || status == "failed" || status == "cancelled";
}

std::string progress_line(const MigrationStats& stats, uint64_t at_start, unsigned columns)
{
    if (stats.total == 0)
        return stats.status;
    const auto base = static_cast<double>(std::max<uint64_t>(at_start, 1));
    const double share = std::clamp(1 - static_cast<double>(stats.remaining) / base, 0.0, 1.0);
    char text[256];
    if (!stats.link_error.empty()) {
        snprintf(text, sizeof text, "reconnecting for %.1f s, round %" PRIu64 ": %3.0f %% (%.80s)",
                 stats.link_away_s, stats.round, share * 100, stats.link_error.c_str());
        return bar(share, columns) + text;
    }
    snprintf(text, sizeof text,
             "%s, round %" PRIu64 ": %3.0f %%, %.1f MB sent, %.1f MB left, %.0f Mbit/s, %" PRIu64
             " dirty pages/s, %.1f s",
             stats.status.c_str(), stats.round, share * 100, megabytes(stats.transferred),
             megabytes(stats.remaining), stats.mbit_per_s, stats.dirty_pages_per_s,
             static_cast<double>(stats.total_ms) / 1e3);
    return bar(share, columns) + text;
}

std::string summary(const MigrationStats& stats)
{
    if (stats.status != "completed")
        return stats.status + (stats.error.empty() ? "" : ": " + stats.error);
    char text[256];
    snprintf(text, sizeof text,
             "completed in %.2f s: %.1f MB in %" PRIu64 " rounds, %.0f Mbit/s, downtime %" PRIu64
             " ms",
             static_cast<double>(stats.total_ms) / 1e3, megabytes(stats.transferred), stats.round,
             stats.mbit_per_s, stats.downtime_ms);
    return text;
}

} // namespace drover::tools
