// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/policy/policy.h"

#include <charconv>

namespace drover {

namespace {

constexpr double min_downtime_s = 0.001;
constexpr double max_downtime_s = 2000; // QEMU's own limit for downtime-limit
constexpr double min_deadline_s = 1;
constexpr double max_deadline_s = 7 * 24 * 3600.0;

/// "50ms", "2s", "1.5m", "1h"; a bare number is in seconds.
std::optional<double> parse_time(std::string_view text)
{
    double value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || value < 0)
        return std::nullopt;
    const std::string_view unit(end, text.data() + text.size());
    if (unit == "ms")
        return value / 1e3;
    if (unit.empty() || unit == "s")
        return value;
    if (unit == "m" || unit == "min")
        return value * 60;
    if (unit == "h")
        return value * 3600;
    return std::nullopt;
}

Result<double> time_within(std::string_view key, std::string_view text, double low, double high,
                           const char* range)
{
    const auto value = parse_time(text);
    if (!value || !(*value >= low && *value <= high)) // so that "nan" is none either
        return fail(ErrorKind::Invalid,
                    "-migrate-policy " + std::string(key) + "=" + std::string(text) +
                        " is not a time that is allowed",
                    range);
    return *value;
}

Status apply(MigrationWish& wish, std::string_view key, std::string_view value)
{
    if (key == "downtime") {
        auto time = time_within(key, value, min_downtime_s, max_downtime_s,
                                "from 1ms to 2000s, such as 50ms");
        if (!time)
            return pass(time);
        wish.downtime_s = *time;
        return {};
    }
    if (key == "deadline") {
        auto time =
            time_within(key, value, min_deadline_s, max_deadline_s, "from 1s to 168h, such as 60s");
        if (!time)
            return pass(time);
        wish.deadline_s = *time;
        return {};
    }
    return fail(ErrorKind::Invalid, "-migrate-policy knows no '" + std::string(key) + "'",
                "it knows downtime=TIME and deadline=TIME");
}

} // namespace

Result<MigrationWish> parse_policy(std::string_view text, const MigrationWish& defaults)
{
    MigrationWish wish = defaults;
    while (!text.empty()) {
        const size_t comma = text.find(',');
        const std::string_view item = text.substr(0, comma);
        text = comma == std::string_view::npos ? std::string_view() : text.substr(comma + 1);
        const size_t equals = item.find('=');
        const bool has_value = equals != std::string_view::npos;
        if (Status status = apply(wish, item.substr(0, equals),
                                  has_value ? item.substr(equals + 1) : std::string_view());
            !status)
            return pass(status);
    }
    if (wish.deadline_s && *wish.deadline_s < wish.downtime_s)
        return fail(ErrorKind::Invalid, "the deadline is shorter than the downtime",
                    "give a deadline of at least the downtime");
    return wish;
}

std::string_view policy_help()
{
    return "-migrate-policy OPTION[,OPTION...]\n"
           "  downtime=TIME   the guest stands still for at most this long (1ms to 2000s,\n"
           "                  default 300ms, as QEMU's downtime-limit)\n"
           "  deadline=TIME   the guest runs at the destination after at most this long\n"
           "                  (1s to 168h, default none)\n"
           "TIME is a number and ms, s, m or h: 50ms, 1.5s, 2m.\n";
}

} // namespace drover
