// SPDX-License-Identifier: GPL-2.0-or-later
#include "system/migrate_settings.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <set>

namespace drover {

namespace {

constexpr uint64_t max_downtime_ms = 2'000'000; // QEMU's limit
constexpr unsigned max_channels = 64;
constexpr uint64_t default_channels = 2;

/// Capabilities whose promise Drover cannot keep: better refused than believed.
const std::set<std::string>& refused_capabilities()
{
    static const std::set<std::string> names = {
        "x-colo",      "background-snapshot", "rdma-pin-all", "block",
        "release-ram", "zero-copy-send",      "mapped-ram"};
    return names;
}

/// The engine sets these in QEMU by itself, as it needs them.
bool is_engines(const std::string& capability)
{
    return capability == "events" || capability == "x-ignore-shared" ||
           capability == "pause-before-switchover" || capability == "late-block-activate";
}

/// These decide how QEMU's migration converges and what protects it: in QEMU they are the engine's,
/// which sends RAM itself.
constexpr const char* engines_parameters[] = {
    "max-bandwidth", "downtime-limit", "avail-switchover-bandwidth",
    "tls-creds",     "tls-hostname",   "tls-authz"};

/// QEMU's words for what bounds the encodings.
constexpr std::array encodings_parameters = {"multifd-compression", "multifd-zlib-level",
                                             "multifd-zstd-level", "xbzrle-cache-size"};

Json entry(const std::string& name, bool on)
{
    return Json{{"capability", name}, {"state", on}};
}

Json arguments_of(Json list)
{
    return Json{{"capabilities", std::move(list)}};
}

Status check_number(const Json& arguments, const char* key, uint64_t high, const char* unit)
{
    const auto value = arguments.find(key);
    if (value == arguments.end())
        return {};
    if (!value->is_number_integer())
        return fail(ErrorKind::Invalid,
                    std::string("Invalid parameter type for '") + key + "', expected: integer");
    if (value->is_number_unsigned() && value->get<uint64_t>() <= high)
        return {};
    return fail(ErrorKind::Invalid, std::string("Parameter '") + key +
                                        "' expects an integer in the range of 0 to " +
                                        std::to_string(high) + " " + unit);
}

/// QEMU's StrOrNull.
Status check_names(const Json& arguments)
{
    for (const char* key : {"tls-creds", "tls-hostname", "tls-authz"})
        if (const auto value = arguments.find(key);
            value != arguments.end() && !value->is_null() && !value->is_string())
            return fail(ErrorKind::Invalid,
                        std::string("Invalid parameter type for '") + key + "', expected: string");
    return {};
}

/// A member in percent as a part of one; QEMU's most where it is missing.
double percent_of(const Json& object, const char* key)
{
    return static_cast<double>(json_u64(object, key, 99)) / 100;
}

} // namespace

void MigrateSettings::learn_capabilities(const Json& qemu_list)
{
    if (!qemu_list.is_array())
        return;
    for (const Json& item : qemu_list) {
        const bool on = json_bool(item, "state");
        capabilities_.push_back({json_string(item, "capability"), on, on});
    }
}

void MigrateSettings::learn_parameters(const Json& qemu_parameters)
{
    if (qemu_parameters.is_object())
        qemu_parameters_ = parameters_ = qemu_parameters;
    // QEMU's own default is 128 MiB/s, a limit that nobody asked Drover for.
    parameters_["max-bandwidth"] = 0;
    parameters_["multifd-channels"] = default_channels;
    parameters_["downtime-limit"] = std::llround(wish_.downtime_s * 1e3);
}

/// What the user asks for, on top of what he has set already: some go only with others.
MigrateSettings::Trial MigrateSettings::capability_trial(const Json& arguments) const
{
    Json set = arguments;
    Json undo = Json::array();
    const auto asked = set.find("capabilities");
    if (asked == set.end() || !asked->is_array())
        return {std::move(set), arguments_of(std::move(undo))};
    Json list = Json::array();
    for (const Capability& known : capabilities_) {
        if (is_engines(known.name))
            continue;
        if (known.on != known.qemus_default)
            list.push_back(entry(known.name, known.on));
        undo.push_back(entry(known.name, known.qemus_default));
    }
    for (Json& item : *asked)
        if (!is_engines(json_string(item, "capability")) || !item.contains("state") ||
            !item["state"].is_boolean())
            list.push_back(std::move(item));
    *asked = std::move(list);
    return {std::move(set), arguments_of(std::move(undo))};
}

void MigrateSettings::set_capabilities(const Json& arguments)
{
    const auto asked = arguments.find("capabilities");
    if (asked == arguments.end() || !asked->is_array())
        return;
    for (const Json& item : *asked) {
        const std::string name = json_string(item, "capability");
        for (Capability& known : capabilities_)
            if (known.name == name)
                known.on = json_bool(item, "state");
    }
}

Status MigrateSettings::check_capabilities() const
{
    for (const Capability& known : capabilities_)
        if (known.on && refused_capabilities().contains(known.name))
            return fail(ErrorKind::Refused,
                        "Drover's migration does not have the capability '" + known.name + "'",
                        "turn it off, or migrate to exec:, file: or a pipe, which QEMU does");
    return {};
}

Result<Json> MigrateSettings::check_parameters(const Json& arguments) const
{
    if (Status fits = check_number(arguments, "downtime-limit", max_downtime_ms, "milliseconds");
        !fits)
        return pass(fits);
    for (const char* bandwidth : {"max-bandwidth", "avail-switchover-bandwidth"})
        if (Status fits = check_number(arguments, bandwidth, UINT64_MAX, "bytes/second"); !fits)
            return pass(fits);
    if (Status fits = check_names(arguments); !fits)
        return pass(fits);
    if (arguments.contains("avail-switchover-bandwidth") &&
        !qemu_parameters_.contains("avail-switchover-bandwidth"))
        return fail(ErrorKind::Invalid, "Parameter 'avail-switchover-bandwidth' is unexpected");
    if (json_string(arguments, "mode", "normal") != "normal")
        return fail(ErrorKind::Refused,
                    "Drover's migration has no mode '" + json_string(arguments, "mode") + "'",
                    "leave it 'normal'");
    Json for_qemu = arguments;
    for (const char* name : engines_parameters)
        for_qemu.erase(name);
    return for_qemu;
}

/// As QEMU had it at the start, nobody asked for it: libvirt sets all back when a job has failed.
std::optional<double> MigrateSettings::step_of(const char* parameter) const
{
    const auto value = parameters_.find(parameter);
    const auto qemus = qemu_parameters_.find(parameter);
    if (value == parameters_.end() || (qemus != qemu_parameters_.end() && *value == *qemus))
        return std::nullopt;
    return percent_of(parameters_, parameter);
}

void MigrateSettings::set_parameters(const Json& arguments)
{
    for (const auto& [name, value] : arguments.items()) {
        parameters_[name] = value.is_null() ? Json("") : value; // StrOrNull is shown as a string
        given_.insert(name);
    }
    if (restores_encodings(arguments))
        for (const char* name : encodings_parameters)
            given_.erase(name);
    if (arguments.contains("downtime-limit"))
        wish_.downtime_s = static_cast<double>(json_u64(arguments, "downtime-limit")) / 1e3;
    downtime_by_qmp_ = downtime_by_qmp_ || arguments.contains("downtime-limit");
    wish_.first_slowdown = step_of("cpu-throttle-initial");
    wish_.slowdown_increment = step_of("cpu-throttle-increment");
}

/// Whether a command sets back, together, all that it has of them: so does libvirt after a job, to
/// what it had found before it.
bool MigrateSettings::restores_encodings(const Json& arguments) const
{
    constexpr long least = 2; // one alone is a wish
    const auto is_set = [&](const char* name) { return arguments.contains(name); };
    const auto is_as_found = [&](const char* name) {
        return !arguments.contains(name) ||
               (qemu_parameters_.contains(name) && arguments[name] == qemu_parameters_[name]);
    };
    return std::ranges::count_if(encodings_parameters, is_set) >= least &&
           std::ranges::all_of(encodings_parameters, is_as_found);
}

/// QEMU's defaults (no compression, level 1) are nobody's wish: only what was set bounds.
EncodingBounds MigrateSettings::encodings() const
{
    EncodingBounds bounds{.allowed = stream::all_encodings};
    const std::string method = json_string(parameters_, "multifd-compression");
    if (given_.contains("multifd-compression") && method == "none") {
        bounds.allowed.remove(stream::PageEncoding::Lz4);
        bounds.allowed.remove(stream::PageEncoding::Zstd);
    }
    const char* level = method == "zlib" ? "multifd-zlib-level" : "multifd-zstd-level";
    if (given_.contains(level))
        bounds.most_zstd_level =
            static_cast<int>(std::clamp<uint64_t>(json_u64(parameters_, level), 1, 20));
    if (given_.contains("xbzrle-cache-size"))
        bounds.delta_bytes = json_u64(parameters_, "xbzrle-cache-size");
    return bounds;
}

Json MigrateSettings::native_capabilities() const
{
    Json list = Json::array();
    for (const Capability& known : capabilities_)
        if (known.name == "events")
            list.push_back(entry(known.name, true)); // we have to know when it ends
        else if (is_engines(known.name) || known.on != known.qemus_default)
            list.push_back(entry(known.name, known.on));
    return arguments_of(std::move(list));
}

/// QEMU has the others already. Where the user has set nothing, QEMU's defaults hold.
Json MigrateSettings::native_parameters() const
{
    Json arguments = Json::object();
    for (const char* name : engines_parameters)
        if (qemu_parameters_.contains(name))
            arguments[name] = qemu_parameters_[name];
    if (json_u64(parameters_, "max-bandwidth") > 0)
        arguments["max-bandwidth"] = parameters_["max-bandwidth"];
    for (const char* name :
         {"downtime-limit", "avail-switchover-bandwidth", "tls-creds", "tls-hostname", "tls-authz"})
        if (arguments.contains(name) && parameters_.contains(name))
            arguments[name] = parameters_[name];
    return arguments;
}

Json MigrateSettings::engine_parameters() const
{
    return tls().creds.empty() ? Json::object() : Json{{"tls-creds", ""}};
}

Json MigrateSettings::engine_capabilities() const
{
    Json list = Json::array();
    for (const Capability& known : capabilities_)
        list.push_back(entry(known.name, known.qemus_default));
    return arguments_of(std::move(list));
}

TlsParameters MigrateSettings::tls() const
{
    return {.creds = json_string(parameters_, "tls-creds"),
            .hostname = json_string(parameters_, "tls-hostname"),
            .authz = json_string(parameters_, "tls-authz")};
}

/// downtime-limit is a bound to those who set it, as in QEMU: a guest that is not to be paused for
/// longer is not, unless on-stall says so. auto-converge permits what max-slowdown does, in the
/// steps that were set for it (cpu-throttle-initial, -increment); without, in those of the policy.
MigrationWish MigrateSettings::wish() const
{
    MigrationWish wish = wish_;
    if (downtime_by_qmp_ && !wish.on_stall_given)
        std::erase(wish.on_stall, StallAction::Switch);
    if (capability("auto-converge") && wish.max_slowdown == 0)
        wish.max_slowdown = percent_of(parameters_, "max-cpu-throttle");
    else
        wish.first_slowdown = wish.slowdown_increment = std::nullopt;
    return wish;
}

namespace {

/// As the command line would have it: "50ms", 0.05, ["slow", "wait"].
Result<std::string> option_text(const std::string& name, const Json& value)
{
    if (value.is_string())
        return value.get<std::string>();
    if (value.is_number() || (value.is_boolean() && name == "verify"))
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
    Json policy{{"downtime", wish.downtime_s},   {"max-slowdown", wish.max_slowdown * 100},
                {"bandwidth", wish.bandwidth},   {"cpu", wish.cpu},
                {"reconnect", wish.reconnect_s}, {"verify", wish.verify},
                {"on-stall", std::move(actions)}};
    if (wish.deadline_s)
        policy["deadline"] = *wish.deadline_s;
    if (!wish.tcp_congestion.empty())
        policy["tcp-congestion"] = wish.tcp_congestion;
    return policy;
}

Json MigrateSettings::capabilities() const
{
    Json list = Json::array();
    for (const Capability& known : capabilities_)
        list.push_back(entry(known.name, known.on));
    return list;
}

Json MigrateSettings::parameters() const
{
    return parameters_;
}

bool MigrateSettings::capability(const std::string& name) const
{
    return std::ranges::any_of(
        capabilities_, [&](const Capability& known) { return known.name == name && known.on; });
}

uint64_t MigrateSettings::max_bandwidth() const
{
    const uint64_t parameter = json_u64(parameters_, "max-bandwidth");
    if (parameter == 0 || wish_.bandwidth == 0)
        return std::max(parameter, wish_.bandwidth);
    return std::min(parameter, wish_.bandwidth);
}

/// As in QEMU, once it was set: 0 is unlimited. Else the bound of the copy holds.
uint64_t MigrateSettings::max_postcopy_bandwidth() const
{
    constexpr const char* name = "max-postcopy-bandwidth";
    return given_.contains(name) ? json_u64(parameters_, name) : max_bandwidth();
}

unsigned MigrateSettings::channels() const
{
    const auto channels = static_cast<unsigned>(std::clamp<uint64_t>(
        json_u64(parameters_, "multifd-channels", default_channels), 1, max_channels));
    if (wish_.cpu <= 0)
        return channels;
    return std::clamp(static_cast<unsigned>(std::ceil(wish_.cpu)), 1U, channels);
}

} // namespace drover
