// SPDX-License-Identifier: GPL-2.0-or-later
#include "system/migrate_settings.h"

#include <algorithm>
#include <cmath>
#include <set>

namespace drover {

namespace {

constexpr uint64_t max_downtime_ms = 2'000'000; // QEMU's limit
constexpr uint64_t max_channels = 64;
constexpr uint64_t default_channels = 2;

/// Capabilities whose promise Drover cannot keep: better refused than believed.
const std::set<std::string>& refused_capabilities()
{
    static const std::set<std::string> names = {
        "x-colo",         "background-snapshot", "rdma-pin-all", "block",        "release-ram",
        "zero-copy-send", "dirty-bitmaps",       "mapped-ram",   "validate-uuid"};
    return names;
}

Status check_range(const Json& arguments, const char* key, uint64_t low, uint64_t high)
{
    const auto value = arguments.find(key);
    if (value == arguments.end())
        return {};
    if (value->is_number_unsigned() && value->get<uint64_t>() >= low &&
        value->get<uint64_t>() <= high)
        return {};
    return fail(ErrorKind::Invalid, std::string("Parameter '") + key +
                                        "' expects an integer from " + std::to_string(low) +
                                        " to " + std::to_string(high));
}

} // namespace

void MigrateSettings::learn_capabilities(const Json& qemu_list)
{
    if (!qemu_list.is_array())
        return;
    for (const Json& entry : qemu_list)
        capabilities_[json_string(entry, "capability")] = json_bool(entry, "state");
}

void MigrateSettings::learn_parameters(const Json& qemu_parameters)
{
    if (qemu_parameters.is_object())
        parameters_ = qemu_parameters;
    // QEMU's own default is 128 MiB/s, a limit that nobody asked Drover for.
    parameters_["max-bandwidth"] = 0;
    parameters_["multifd-channels"] = default_channels;
    parameters_["downtime-limit"] = std::llround(wish_.downtime_s * 1e3);
}

Status MigrateSettings::set_capabilities(const Json& arguments)
{
    const auto list = arguments.find("capabilities");
    if (list == arguments.end() || !list->is_array())
        return fail(ErrorKind::Invalid, "Parameter 'capabilities' is missing");
    std::map<std::string, bool> changed = capabilities_;
    for (const Json& entry : *list) {
        const std::string name = json_string(entry, "capability");
        const auto known = changed.find(name);
        if (known == changed.end())
            return fail(ErrorKind::Invalid,
                        "Parameter 'capability' does not accept value '" + name + "'");
        if (!entry.contains("state") || !entry["state"].is_boolean())
            return fail(ErrorKind::Invalid, "Parameter 'state' is missing");
        known->second = entry["state"].get<bool>();
        if (known->second && refused_capabilities().contains(name))
            return fail(ErrorKind::Refused,
                        "Drover's migration does not have the capability '" + name + "'",
                        "leave it off");
    }
    capabilities_ = std::move(changed);
    return {};
}

Status MigrateSettings::set_parameters(const Json& arguments)
{
    for (const auto& [key, value] : arguments.items())
        if (!parameters_.contains(key))
            return fail(ErrorKind::Invalid, "Parameter '" + key + "' is unexpected");
    if (Status fits = check_range(arguments, "downtime-limit", 1, max_downtime_ms); !fits)
        return fits;
    if (Status fits = check_range(arguments, "multifd-channels", 1, max_channels); !fits)
        return fits;
    if (Status fits = check_range(arguments, "max-bandwidth", 0, INT64_MAX); !fits)
        return fits;
    if (!json_string(arguments, "tls-creds").empty())
        return fail(ErrorKind::Refused, "Drover's migration has no TLS yet",
                    "leave tls-creds empty, and migrate over a network that you trust");
    parameters_.update(arguments);
    if (arguments.contains("downtime-limit"))
        wish_.downtime_s = static_cast<double>(json_u64(arguments, "downtime-limit")) / 1e3;
    downtime_by_qmp_ = downtime_by_qmp_ || arguments.contains("downtime-limit");
    return {};
}

/// downtime-limit is a bound to those who set it, as in QEMU: a guest that is not to be paused for
/// longer is not, unless on-stall says so. auto-converge permits what max-slowdown does; Drover
/// needs no steps (cpu-throttle-initial, -increment): it finds the least that will do.
MigrationWish MigrateSettings::wish() const
{
    MigrationWish wish = wish_;
    if (downtime_by_qmp_ && !wish.on_stall_given)
        std::erase(wish.on_stall, StallAction::Switch);
    if (capability("auto-converge") && wish.max_slowdown == 0)
        wish.max_slowdown =
            static_cast<double>(json_u64(parameters_, "max-cpu-throttle", 99)) / 100;
    return wish;
}

namespace {

/// As the command line would have it: "50ms", 0.05, ["slow", "wait"].
Result<std::string> option_text(const std::string& name, const Json& value)
{
    if (value.is_string())
        return value.get<std::string>();
    if (value.is_number())
        return value.dump();
    std::string text;
    if (value.is_array() && name == "on-stall") {
        for (const Json& item : value) {
            if (!item.is_string())
                break;
            text += (text.empty() ? "" : ":") + item.get<std::string>();
        }
        return text;
    }
    return fail(ErrorKind::Invalid, "Parameter '" + name + "' has an unexpected type",
                "give a number, or a string as on the command line");
}

} // namespace

Status MigrateSettings::set_policy(const Json& arguments)
{
    MigrationWish wish = wish_;
    if (arguments.contains("preset")) // before the others, wherever it stands
        if (Status applied = apply_policy_option(wish, "preset", json_string(arguments, "preset"));
            !applied)
            return applied;
    for (const auto& [name, value] : arguments.items()) {
        if (name == "preset")
            continue;
        auto text = option_text(name, value);
        if (!text)
            return pass(text);
        if (Status applied = apply_policy_option(wish, name, *text); !applied)
            return applied;
    }
    if (Status sane = check_wish(wish); !sane)
        return sane;
    wish_ = std::move(wish);
    if (arguments.contains("downtime") || arguments.contains("preset"))
        downtime_by_qmp_ = false;
    parameters_["downtime-limit"] = std::llround(wish_.downtime_s * 1e3);
    return {};
}

Json MigrateSettings::policy() const
{
    const MigrationWish wish = this->wish();
    Json actions = Json::array();
    for (const StallAction action : wish.on_stall)
        actions.push_back(to_string(action));
    Json policy{{"downtime", wish.downtime_s},
                {"max-slowdown", wish.max_slowdown * 100},
                {"bandwidth", wish.bandwidth},
                {"cpu", wish.cpu},
                {"on-stall", std::move(actions)}};
    if (wish.deadline_s)
        policy["deadline"] = *wish.deadline_s;
    return policy;
}

Json MigrateSettings::capabilities() const
{
    Json list = Json::array();
    for (const auto& [name, state] : capabilities_)
        list.push_back(Json{{"capability", name}, {"state", state}});
    return list;
}

Json MigrateSettings::parameters() const
{
    return parameters_;
}

bool MigrateSettings::capability(const std::string& name) const
{
    const auto found = capabilities_.find(name);
    return found != capabilities_.end() && found->second;
}

uint64_t MigrateSettings::max_bandwidth() const
{
    const uint64_t parameter = json_u64(parameters_, "max-bandwidth");
    if (parameter == 0 || wish_.bandwidth == 0)
        return std::max(parameter, wish_.bandwidth);
    return std::min(parameter, wish_.bandwidth);
}

unsigned MigrateSettings::channels() const
{
    const auto channels =
        static_cast<unsigned>(json_u64(parameters_, "multifd-channels", default_channels));
    if (wish_.cpu <= 0)
        return channels;
    return std::clamp(static_cast<unsigned>(std::ceil(wish_.cpu)), 1U, channels);
}

} // namespace drover
