// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/policy/wish.h"

#include <array>
#include <charconv>
#include <cmath>
#include <span>

namespace drover {

namespace {

constexpr double min_downtime_s = 0.001;
constexpr double max_downtime_s = 2000; // QEMU's own limit for downtime-limit
constexpr double min_deadline_s = 1;
constexpr double max_deadline_s = 7 * 24 * 3600.0;
constexpr double most_slowdown = 0.99; // as QEMU's max-cpu-throttle
constexpr double max_cores = 1024;
constexpr double max_reconnect_s = 24 * 3600.0;

struct Suffix {
    std::string_view text;
    double factor;
};

constexpr std::array<Suffix, 6> time_units = {
    {{"ms", 1e-3}, {"", 1}, {"s", 1}, {"m", 60}, {"min", 60}, {"h", 3600}}};
/// As QEMU reads sizes: a bare number of max-bandwidth is in bytes.
constexpr std::array<Suffix, 9> rate_units = {{{"", 1},
                                               {"k", 1 << 10},
                                               {"K", 1 << 10},
                                               {"M", 1 << 20},
                                               {"G", 1 << 30},
                                               {"kB/s", 1e3},
                                               {"MB/s", 1e6},
                                               {"GB/s", 1e9},
                                               {"B/s", 1}}};
constexpr std::array<Suffix, 2> percent_units = {{{"%", 0.01}, {"", 0.01}}};
constexpr std::array<Suffix, 1> no_units = {{{"", 1}}};

/// "50ms", "2s", "125MB/s": a number that is not negative, and one of the suffixes.
std::optional<double> parse_number(std::string_view text, std::span<const Suffix> suffixes)
{
    double value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || !(value >= 0) || std::isinf(value)) // "nan" is none either
        return std::nullopt;
    const std::string_view unit(end, text.data() + text.size());
    for (const Suffix& suffix : suffixes)
        if (unit == suffix.text)
            return value * suffix.factor;
    return std::nullopt;
}

struct Range {
    double low;
    double high;
    const char* words;
};

Result<double> number_within(std::string_view key, std::string_view text,
                             std::span<const Suffix> suffixes, const Range& range)
{
    const auto value = parse_number(text, suffixes);
    if (!value || *value < range.low || *value > range.high)
        return fail(ErrorKind::Invalid,
                    "the migration policy's " + std::string(key) + "=" + std::string(text) +
                        " is not allowed",
                    std::string("it may be ") + range.words);
    return *value;
}

constexpr Range downtime_range{min_downtime_s, max_downtime_s, "from 1ms to 2000s, such as 50ms"};
constexpr Range deadline_range{min_deadline_s, max_deadline_s,
                               "\"none\", or from 1s to 168h, such as 60s"};
constexpr Range slowdown_range{0, most_slowdown, "from 0 to 99 (percent), such as 30%"};
constexpr Range bandwidth_range{0, 1e15,
                                "0 (no bound of its own) or a rate, such as 125MB/s or 1G"};
constexpr Range reconnect_range{0, max_reconnect_s,
                                "0 (a broken link ends the migration) or a time up to 24h, such "
                                "as 2m"};
constexpr Range cpu_range{0, max_cores, "0 (no bound) or a number of cores, such as 1.5"};

/// As the kernel names them (TCP_CA_NAME_MAX): bbr, cubic, reno …
Status apply_congestion(MigrationWish& wish, std::string_view name)
{
    constexpr size_t longest = 15;
    const bool fits =
        !name.empty() && name.size() <= longest &&
        name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_-") == std::string_view::npos;
    if (!fits)
        return fail(ErrorKind::Invalid,
                    "the migration policy's tcp-congestion=" + std::string(name) +
                        " is not allowed",
                    "it may be \"default\", or what the kernel has, such as bbr: see "
                    "/proc/sys/net/ipv4/tcp_available_congestion_control");
    wish.tcp_congestion = name == "default" ? std::string_view() : name;
    return {};
}

Status apply_switch(bool& target, std::string_view key, std::string_view value)
{
    if (value != "on" && value != "off" && value != "true" && value != "false")
        return fail(ErrorKind::Invalid,
                    "the migration policy's " + std::string(key) + "=" + std::string(value) +
                        " is not allowed",
                    "it may be on or off");
    target = value == "on" || value == "true";
    return {};
}

constexpr std::array<std::string_view, 5> action_names = {"wait", "slow", "postcopy", "switch",
                                                          "abort"};

Result<StallAction> parse_action(std::string_view text)
{
    for (size_t i = 0; i < action_names.size(); ++i)
        if (text == action_names[i])
            return static_cast<StallAction>(i);
    return fail(ErrorKind::Invalid,
                "the migration policy's on-stall knows no '" + std::string(text) + "'",
                "it takes a list of wait, slow, postcopy, switch and abort, such as "
                "on-stall=slow:postcopy");
}

Status apply_actions(MigrationWish& wish, std::string_view text)
{
    std::vector<StallAction> actions;
    do {
        const size_t colon = text.find(':');
        auto action = parse_action(text.substr(0, colon));
        if (!action)
            return pass(action);
        actions.push_back(*action);
        text = colon == std::string_view::npos ? std::string_view() : text.substr(colon + 1);
    } while (!text.empty());
    wish.on_stall = std::move(actions);
    wish.on_stall_given = true;
    return {};
}

Status apply_preset(MigrationWish& wish, std::string_view name)
{
    using enum StallAction;
    MigrationWish preset;
    if (name == "gentle") { // the guest first
        preset.on_stall = {Wait};
    } else if (name == "balanced") {
        preset.deadline_s = 300;
        preset.max_slowdown = 0.3;
        preset.on_stall = {Slow, Wait, Switch};
    } else if (name == "urgent") { // the end first
        preset.downtime_s = 1;
        preset.deadline_s = 60;
        preset.max_slowdown = 0.8;
        preset.on_stall = {Slow, Switch};
    } else if (name == "guaranteed") { // the downtime, whatever the guest does
        preset.downtime_s = 0.1;
        preset.max_slowdown = 0.5;
        preset.on_stall = {Slow, Postcopy, Wait};
    } else {
        return fail(ErrorKind::Invalid,
                    "the migration policy has no preset '" + std::string(name) + "'",
                    "there are gentle, balanced, urgent and guaranteed");
    }
    preset.on_stall_given = true;
    wish = std::move(preset);
    return {};
}

template <typename Target>
Status apply_number(Target& target, std::string_view key, std::string_view value,
                    std::span<const Suffix> suffixes, const Range& range)
{
    auto number = number_within(key, value, suffixes, range);
    if (!number)
        return pass(number);
    if constexpr (std::is_same_v<Target, uint64_t>)
        target = static_cast<uint64_t>(*number);
    else
        target = *number;
    return {};
}

} // namespace

std::string_view to_string(StallAction action)
{
    return action_names[static_cast<size_t>(action)];
}

Status apply_policy_option(MigrationWish& wish, std::string_view key, std::string_view value)
{
    if (key == "preset")
        return apply_preset(wish, value);
    if (key == "downtime")
        return apply_number(wish.downtime_s, key, value, time_units, downtime_range);
    if (key == "deadline" && value == "none") {
        wish.deadline_s.reset();
        return {};
    }
    if (key == "deadline")
        return apply_number(wish.deadline_s, key, value, time_units, deadline_range);
    if (key == "max-slowdown")
        return apply_number(wish.max_slowdown, key, value, percent_units, slowdown_range);
    if (key == "bandwidth")
        return apply_number(wish.bandwidth, key, value, rate_units, bandwidth_range);
    if (key == "cpu")
        return apply_number(wish.cpu, key, value, no_units, cpu_range);
    if (key == "reconnect")
        return apply_number(wish.reconnect_s, key, value, time_units, reconnect_range);
    if (key == "verify")
        return apply_switch(wish.verify, key, value);
    if (key == "tcp-congestion")
        return apply_congestion(wish, value);
    if (key == "on-stall")
        return apply_actions(wish, value);
    return fail(ErrorKind::Invalid, "the migration policy knows no '" + std::string(key) + "'",
                "it knows preset, downtime, deadline, max-slowdown, bandwidth, cpu, reconnect, "
                "verify, tcp-congestion and on-stall");
}

Status check_wish(const MigrationWish& wish)
{
    if (wish.deadline_s && *wish.deadline_s < wish.downtime_s)
        return fail(ErrorKind::Invalid, "the deadline is shorter than the downtime",
                    "give a deadline of at least the downtime");
    return {};
}

Result<MigrationWish> parse_policy(std::string_view text, const MigrationWish& defaults)
{
    MigrationWish wish = defaults;
    while (!text.empty()) {
        const size_t comma = text.find(',');
        const std::string_view item = text.substr(0, comma);
        text = comma == std::string_view::npos ? std::string_view() : text.substr(comma + 1);
        const size_t equals = item.find('=');
        const bool has_value = equals != std::string_view::npos;
        if (Status status =
                apply_policy_option(wish, item.substr(0, equals),
                                    has_value ? item.substr(equals + 1) : std::string_view());
            !status)
            return pass(status);
    }
    if (Status sane = check_wish(wish); !sane)
        return pass(sane);
    return wish;
}

std::string_view policy_help()
{
    return "-migrate-policy OPTION[,OPTION...]\n"
           "  preset=NAME       gentle      never slows the guest, and waits as long as it takes\n"
           "                    balanced    300ms, within 5 minutes, at most 30% slower\n"
           "                    urgent      1s, within a minute, at most 80% slower\n"
           "                    guaranteed  100ms whatever the guest does: post-copy if need be\n"
           "                    (a preset replaces the options before it)\n"
           "  downtime=TIME     the guest stands still for at most this long (1ms to 2000s,\n"
           "                    default 300ms, as QEMU's downtime-limit)\n"
           "  deadline=TIME     the guest runs at the destination after at most this long\n"
           "                    (1s to 168h, or none, the default)\n"
           "  max-slowdown=PERCENT  of the guest's speed, while it migrates (0 to 99, default 0)\n"
           "  bandwidth=RATE    at most so much on the wire (125MB/s, 1G; default: max-bandwidth)\n"
           "  cpu=CORES         for the migration's own work (default: no bound)\n"
           "  reconnect=TIME    a link that breaks while the guest runs here may be away for so "
           "long\n"
           "                    (0 to 24h, default 5m)\n"
           "  verify=on|off     compare RAM, by a digest, before the guest runs at the "
           "destination\n"
           "                    (default off)\n"
           "  tcp-congestion=NAME  of the kernel's ways to share a link (bbr: for one that loses\n"
           "                    packets, or is long; default: the kernel's own)\n"
           "  on-stall=LIST     what to do, in this order, when rounds do not bring the downtime:\n"
           "                    slow, wait, postcopy, switch (a longer downtime), abort;\n"
           "                    default slow:wait:switch\n"
           "TIME is a number and ms, s, m or h: 50ms, 1.5s, 2m.\n";
}

} // namespace drover
