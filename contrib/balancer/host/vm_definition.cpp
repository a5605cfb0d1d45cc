// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/host/vm_definition.h"

#include "migration/policy/wish.h"

#include <algorithm>
#include <array>

namespace drover::balancer {

namespace {

constexpr size_t max_name = 64;
constexpr size_t max_words = 4096; // of a command line
constexpr size_t max_labels = 256; // of one list
constexpr size_t max_text = 65536; // of one word
constexpr size_t max_ifname = 15;  // IFNAMSIZ less the final zero

constexpr std::array known_members = {"name",  "kind",      "emulator",  "command",  "policy",
                                      "nic",   "pinned",    "groups",    "together", "apart",
                                      "needs", "autostart", "xen-config"};
constexpr std::array known_nic_members = {"id", "expected-bandwidth", "ifname", "bridge"};

std::unexpected<Error> wrong(const std::string& member, const std::string& what)
{
    return fail(ErrorKind::Invalid, "\"" + member + "\" of a VM's definition " + what);
}

bool is_name_character(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
}

template <typename Known>
Status check_members(const Json& object, const Known& known, const std::string& where)
{
    for (const auto& [key, value] : object.items()) {
        if (std::find(known.begin(), known.end(), key) != known.end())
            continue;
        std::string names;
        for (const char* name : known)
            names += (names.empty() ? "" : ", ") + std::string(name);
        return fail(ErrorKind::Invalid, where + " has no member \"" + key + "\"",
                    "it may have " + names);
    }
    return {};
}

Status take_text(const Json& json, const char* member, std::string& into)
{
    const auto found = json.find(member);
    if (found == json.end())
        return {};
    if (!found->is_string() || found->get_ref<const std::string&>().size() > max_text)
        return wrong(member, "must be text");
    into = found->get<std::string>();
    if (into.find('\0') != std::string::npos)
        return wrong(member, "must not have zero bytes");
    return {};
}

Status take_list(const Json& json, const char* member, size_t limit, std::vector<std::string>& into)
{
    const auto found = json.find(member);
    if (found == json.end())
        return {};
    if (!found->is_array() || found->size() > limit)
        return wrong(member, "must be a list of at most " + std::to_string(limit) + " words");
    for (const Json& entry : *found) {
        if (!entry.is_string() || entry.get_ref<const std::string&>().size() > max_text ||
            entry.get_ref<const std::string&>().find('\0') != std::string::npos)
            return wrong(member, "must be a list of words");
        into.push_back(entry.get<std::string>());
    }
    return {};
}

/// "25MB/s" or bytes/s as a number.
Result<double> bandwidth_of(const Json& value)
{
    if (value.is_number() && value.get<double>() >= 0 && value.get<double>() < 1e15)
        return value.get<double>();
    MigrationWish wish;
    if (value.is_string() && apply_policy_option(wish, "bandwidth", value.get<std::string>()))
        return static_cast<double>(wish.bandwidth);
    return wrong("expected-bandwidth", "must be bytes/s, or text such as \"25MB/s\"");
}

Status check_ifname(const std::string& name, const char* member)
{
    const bool good = name.size() <= max_ifname && name != "." && name != ".." &&
                      std::all_of(name.begin(), name.end(), is_name_character);
    if (!good || name.starts_with('-'))
        return wrong(member, "must be a network device's name, at most 15 letters and digits");
    return {};
}

Result<VmNic> nic_from_json(const Json& json)
{
    if (!json.is_object())
        return wrong("nic", "must be a list of objects");
    if (const Status known = check_members(json, known_nic_members, "a \"nic\""); !known)
        return std::unexpected(known.error());
    VmNic nic;
    for (const auto& [member, into] : {std::pair{"id", &nic.id}, std::pair{"ifname", &nic.ifname},
                                       std::pair{"bridge", &nic.bridge}})
        if (const Status taken = take_text(json, member, *into); !taken)
            return std::unexpected(taken.error());
    if (nic.id.empty())
        return wrong("nic", "must say the \"id\" of its netdev");
    if (const Status good = check_ifname(nic.ifname, "ifname"); !good)
        return std::unexpected(good.error());
    if (const Status good = check_ifname(nic.bridge, "bridge"); !good)
        return std::unexpected(good.error());
    if (!nic.bridge.empty() && nic.ifname.empty())
        return wrong("bridge", "needs an \"ifname\" for the tap");
    if (const auto expected = json.find("expected-bandwidth"); expected != json.end()) {
        const auto value = bandwidth_of(*expected);
        if (!value)
            return std::unexpected(value.error());
        nic.expected_bandwidth = *value;
    }
    return nic;
}

Status take_nics(const Json& json, std::vector<VmNic>& into)
{
    const auto found = json.find("nic");
    if (found == json.end())
        return {};
    if (!found->is_array() || found->size() > max_labels)
        return wrong("nic", "must be a list of objects");
    for (const Json& entry : *found) {
        auto nic = nic_from_json(entry);
        if (!nic)
            return std::unexpected(nic.error());
        into.push_back(std::move(*nic));
    }
    return {};
}

/// What droverd itself puts on the command line, or could not live with.
Status check_command(const std::vector<std::string>& command)
{
    for (const std::string& word : command)
        for (const char* own : {"-incoming", "-daemonize", "-name"})
            if (word == own || word == std::string("-") + own)
                return fail(ErrorKind::Invalid, "\"command\" of a VM's definition has " + word,
                            "leave it out: droverd sees to it");
    return {};
}

Status take_kind(const Json& json, VmKind& kind)
{
    std::string word = "drover";
    if (const Status taken = take_text(json, "kind", word); !taken)
        return taken;
    for (const VmKind known : {VmKind::Drover, VmKind::Qemu, VmKind::Xen})
        if (word == to_string(known)) {
            kind = known;
            return {};
        }
    return wrong("kind", "must be \"drover\", \"qemu\" or \"xen\"");
}

Status take_lists(const Json& json, VmDefinition& vm)
{
    const std::pair<const char*, std::vector<std::string>*> labels[] = {{"groups", &vm.groups},
                                                                        {"together", &vm.together},
                                                                        {"apart", &vm.apart},
                                                                        {"needs", &vm.needs}};
    for (const auto& [member, into] : labels)
        if (const Status taken = take_list(json, member, max_labels, *into); !taken)
            return taken;
    if (const Status taken = take_list(json, "command", max_words, vm.command); !taken)
        return taken;
    if (const Status good = check_command(vm.command); !good)
        return good;
    return take_nics(json, vm.nics);
}

} // namespace

std::string_view to_string(VmKind kind)
{
    switch (kind) {
    case VmKind::Qemu: return "qemu";
    case VmKind::Xen: return "xen";
    default: return "drover";
    }
}

bool runs_on_qemu(const VmDefinition& definition)
{
    return definition.kind != VmKind::Xen || !definition.command.empty();
}

bool runs_on_xen(const VmDefinition& definition)
{
    return definition.kind != VmKind::Qemu && !definition.xen_config.empty();
}

Status adapt_kind(VmDefinition& definition, bool host_is_xen)
{
    if (host_is_xen && !runs_on_xen(definition))
        return fail(ErrorKind::Refused,
                    "this is a Xen host, and the definition of " + definition.name +
                        " does not say how Xen runs it",
                    definition.kind == VmKind::Qemu
                        ? "stock QEMU's guests do not go to Xen: kind = \"drover\""
                        : "\"xen-config\" names a file for xl");
    if (!host_is_xen && !runs_on_qemu(definition))
        return fail(ErrorKind::Refused,
                    "this is no Xen host, and the definition of " + definition.name +
                        " does not say how QEMU runs it",
                    "\"command\" is QEMU's command line");
    if (host_is_xen)
        definition.kind = VmKind::Xen;
    else if (definition.kind == VmKind::Xen)
        definition.kind = VmKind::Drover;
    return {};
}

bool is_vm_name(std::string_view name)
{
    return !name.empty() && name.size() <= max_name && name.front() != '.' && name.front() != '-' &&
           std::all_of(name.begin(), name.end(), is_name_character);
}

Result<VmDefinition> vm_definition_from_json(const Json& json)
{
    if (!json.is_object())
        return fail(ErrorKind::Invalid, "a VM's definition must be an object");
    if (const Status known = check_members(json, known_members, "a VM's definition"); !known)
        return std::unexpected(known.error());
    VmDefinition vm;
    Status good = take_text(json, "name", vm.name);
    if (good && !is_vm_name(vm.name))
        good = wrong("name", "must be 1 to 64 letters, digits, '.', '_' or '-'");
    if (good)
        good = take_kind(json, vm.kind);
    if (good)
        good = take_text(json, "emulator", vm.emulator);
    if (good)
        good = take_text(json, "policy", vm.policy);
    if (good)
        good = take_text(json, "xen-config", vm.xen_config);
    if (good && !vm.xen_config.empty() && !vm.xen_config.starts_with('/'))
        good = wrong("xen-config", "must be the absolute path of a file for xl");
    if (good && !vm.xen_config.empty() && vm.kind == VmKind::Qemu)
        good = wrong("xen-config", "is not for stock QEMU's guests, which do not go to Xen");
    if (good)
        good = take_lists(json, vm);
    if (!good)
        return std::unexpected(good.error());
    for (const auto& [member, into] :
         {std::pair{"pinned", &vm.pinned}, {"autostart", &vm.autostart}}) {
        if (json.contains(member) && !json[member].is_boolean())
            return wrong(member, "must be true or false");
        *into = json_bool(json, member);
    }
    return vm;
}

Json to_json(const VmDefinition& definition)
{
    Json nics = Json::array();
    for (const VmNic& nic : definition.nics) {
        Json entry = {{"id", nic.id}, {"expected-bandwidth", nic.expected_bandwidth}};
        if (!nic.ifname.empty())
            entry["ifname"] = nic.ifname;
        if (!nic.bridge.empty())
            entry["bridge"] = nic.bridge;
        nics.push_back(std::move(entry));
    }
    Json json = {{"name", definition.name},         {"kind", to_string(definition.kind)},
                 {"emulator", definition.emulator}, {"command", definition.command},
                 {"policy", definition.policy},     {"nic", std::move(nics)},
                 {"pinned", definition.pinned},     {"groups", definition.groups},
                 {"together", definition.together}, {"apart", definition.apart},
                 {"needs", definition.needs},       {"autostart", definition.autostart}};
    if (!definition.xen_config.empty())
        json["xen-config"] = definition.xen_config;
    return json;
}

std::string expand(std::string text, const std::string& host, const std::string& run)
{
    const std::pair<std::string_view, const std::string*> names[] = {{"${host}", &host},
                                                                     {"${run}", &run}};
    for (const auto& [name, value] : names)
        for (size_t at = text.find(name); at != std::string::npos;
             at = text.find(name, at + value->size()))
            text.replace(at, name.size(), *value);
    return text;
}

} // namespace drover::balancer
