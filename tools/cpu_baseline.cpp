// SPDX-License-Identifier: GPL-2.0-or-later
#include "tools/cpu_baseline.h"

#include "migration/session/cpu_check.h"
#include "vmm/xen/guest/xl_cpuid.h"

#include <algorithm>
#include <cstdio>
#include <glib.h>
#include <optional>
#include <tuple>

namespace drover::tools {

namespace {

constexpr size_t most_names = 4096;
constexpr size_t most_models = 1024;
constexpr size_t longest_name = 64;
constexpr size_t most_registers = 64;

struct Component {
    const char* feature;
    uint64_t xcr0;
    uint64_t end; ///< of its part of the area, bytes, on Intel's CPUs (SDM1 13.4.3)
};

constexpr uint64_t legacy_area = 576; ///< x87, SSE and the header
constexpr Component components[] = {{"avx", 1U << 2, 832},
                                    {"mpx", 3U << 3, 1088},
                                    {"avx512f", 7U << 5, 2688},
                                    {"pku", 1U << 9, 2696},
                                    {"amx-tile", 3U << 17, 11008}};

bool is_plain_name(const std::string& name)
{
    return !name.empty() && name.size() <= longest_name && std::ranges::all_of(name, [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               c == '-' || c == '_' || c == '.';
    });
}

std::optional<FeatureNames> read_names(const Json& object, const char* key)
{
    const auto list = object.find(key);
    if (list == object.end() || !list->is_array() || list->size() > most_names)
        return std::nullopt;
    FeatureNames names;
    for (const Json& item : *list) {
        if (!item.is_string() || !is_plain_name(item.get_ref<const std::string&>()))
            return std::nullopt;
        names.insert(item.get<std::string>());
    }
    return names;
}

bool read_registers(const Json& object, std::map<std::string, uint64_t>& registers)
{
    const auto told = object.find("registers");
    if (told == object.end() || !told->is_object() || told->size() > most_registers)
        return false;
    for (const auto& [name, value] : told->items()) {
        if (!value.is_number_unsigned() || name.size() > longest_name)
            return false;
        registers[name] = value.get<uint64_t>();
    }
    return true;
}

bool begins_with_one_of(const std::string& name, std::initializer_list<const char*> beginnings)
{
    return std::ranges::any_of(beginnings,
                               [&name](const char* begin) { return name.starts_with(begin); });
}

/// What is no matter of the CPU, or cannot go with a guest: paravirtual interfaces, the counter's
/// own frequency, what guests need for guests of their own.
bool is_no_part_of_it(const std::string& name)
{
    static const FeatureNames names = {
        "hypervisor",    "invtsc",        "svm",         "npt",        "lbrv",
        "svm-lock",      "nrip-save",     "tsc-scale",   "vmcb-clean", "flushbyasid",
        "decodeassists", "pause-filter",  "pfthreshold", "avic",       "v-vmsave-vmload",
        "vgif",          "svme-addr-chk", "vnmi",        "vmx",        "smx",
        "osxsave",       "ospke",         "ht",          "cmp-legacy", "monitor"};
    return names.contains(name) ||
           begins_with_one_of(name, {"vmx-", "kvm", "hv-", "xen", "sgx", "intel-pt"});
}

bool has_part_in_xsave(const std::string& name)
{
    return begins_with_one_of(name, {"avx512", "avx10", "amx-"}) || name == "mpx" || name == "pku";
}

bool differ(const std::vector<CpuHost>& hosts, std::string CpuHost::*member)
{
    return std::ranges::any_of(
        hosts, [&](const CpuHost& host) { return host.*member != hosts.front().*member; });
}

class BaselineMaker {
public:
    explicit BaselineMaker(const std::vector<CpuHost>& hosts)
        : hosts_(hosts), vendors_(differ(hosts, &CpuHost::vendor)),
          accelerators_(differ(hosts, &CpuHost::accelerator))
    {
        for (const CpuHost& host : hosts)
            if (!host.is_xen())
                qemu_hosts_.push_back(&host);
    }

    Result<CpuBaseline> make()
    {
        intersect();
        if (!baseline_.features.contains("lm"))
            return fail(ErrorKind::Incompatible,
                        "these hosts have no 64-bit CPU in common: " + who_lacks("lm"));
        if (has_qemu() && !choose_model())
            return fail(ErrorKind::Incompatible,
                        "the QEMUs of these hosts have no CPU model in common that can be used");
        look_at_registers();
        look_at_xsave();
        for (const CpuHost& host : hosts_)
            if (host.is_xen())
                baseline_.xl_words[host.name] = xl_words_of(host);
        warn();
        return std::move(baseline_);
    }

private:
    [[nodiscard]] bool has_qemu() const { return !qemu_hosts_.empty(); }

    /// What a guest of xl's must not see, bit by bit: xl has no names for all of them.
    [[nodiscard]] std::string xl_words_of(const CpuHost& host) const
    {
        std::string words;
        for (const auto& [name, value] : host.registers) {
            const auto wanted = baseline_.registers.find(name);
            uint64_t seen = value & bits_between_kinds(name);
            for (const std::string& feature : feature_list(name, seen))
                if (is_no_part_of_it(feature))
                    seen &= ~(uint64_t{1} << register_of_feature(feature)->second);
            const uint64_t hidden =
                seen & ~(wanted != baseline_.registers.end() ? wanted->second : 0);
            if (const auto word = xen::xl_cpuid_word(name, hidden); !word.empty())
                words += (words.empty() ? "\"" : ", \"") + word + '"';
        }
        return words.empty() ? words : "[ " + words + " ]";
    }

    [[nodiscard]] std::string who_lacks(const std::string& name) const
    {
        std::string who;
        for (const CpuHost& host : hosts_)
            if (!host.has(name))
                who += (who.empty() ? "not on " : ", ") + host.name;
        return who;
    }

    void intersect()
    {
        FeatureNames all;
        for (const CpuHost& host : hosts_)
            all.insert(host.features.begin(), host.features.end());
        for (const std::string& name : all) {
            if (is_no_part_of_it(name))
                continue;
            if (const std::string lacking = who_lacks(name); !lacking.empty())
                baseline_.left_out.push_back(name + ": " + lacking);
            else if (has_part_in_xsave(name) && vendors_)
                baseline_.left_out.push_back(
                    name + ": it has another place in XSAVE's area on CPUs of another vendor");
            else if (has_part_in_xsave(name) && accelerators_)
                baseline_.left_out.push_back(
                    name + ": its registers are not translated between accelerators");
            else
                baseline_.features.insert(name);
        }
    }

    /// What has to be said besides the model's name, so that on each host the same comes of it;
    /// nothing where a host would not understand it.
    [[nodiscard]] std::optional<std::vector<std::string>> words_for(const std::string& model) const
    {
        FeatureNames concerned = baseline_.features;
        for (const CpuHost* host : qemu_hosts_)
            concerned.insert(host->models.at(model).begin(), host->models.at(model).end());
        std::vector<std::string> words;
        for (const std::string& name : concerned) {
            const bool wanted = baseline_.features.contains(name);
            if (name == "hypervisor")
                continue;
            const bool said = std::ranges::any_of(qemu_hosts_, [&](const CpuHost* host) {
                return host->models.at(model).contains(name) != wanted;
            });
            if (!said)
                continue;
            if (std::ranges::any_of(
                    qemu_hosts_, [&](const CpuHost* host) { return !host->known.contains(name); }))
                return std::nullopt;
            words.push_back((wanted ? "+" : "-") + name);
        }
        return words;
    }

    bool choose_model()
    {
        std::optional<std::vector<std::string>> best;
        for (const auto& [model, features] : qemu_hosts_.front()->models) {
            if (!std::ranges::all_of(
                    qemu_hosts_, [&](const CpuHost* host) { return host->models.contains(model); }))
                continue;
            auto words = words_for(model);
            if (!words || (best && words->size() >= best->size()))
                continue;
            best = std::move(words);
            baseline_.model = model;
        }
        if (!best)
            return false;
        baseline_.words = baseline_.model;
        for (const std::string& word : *best)
            baseline_.words += "," + word;
        if (accelerators_)
            baseline_.words += ",kvm=off";
        return true;
    }

    void look_at_registers()
    {
        for (const std::string& name : baseline_.features)
            if (const auto at = register_of_feature(name))
                baseline_.registers[at->first] |= uint64_t{1} << at->second;
    }

    void look_at_xsave()
    {
        if (!baseline_.features.contains("xsave"))
            return;
        baseline_.xcr0 = 3;
        baseline_.xsave_bytes = legacy_area;
        for (const Component& component : components)
            if (baseline_.features.contains(component.feature)) {
                baseline_.xcr0 |= component.xcr0;
                baseline_.xsave_bytes = component.end;
            }
    }

    void warn()
    {
        std::vector<std::string>& notes = baseline_.notes;
        const bool on_kvm = std::ranges::all_of(
            hosts_, [](const CpuHost& host) { return host.accelerator == "kvm"; });
        if (vendors_ && on_kvm) {
            notes.emplace_back("the hosts' CPUs are of different vendors, and a guest sees the "
                               "model's: SYSENTER in 64-bit mode (Intel's) and SYSCALL in 32-bit "
                               "programs (AMD's) do not exist on the other, where KVM carries them "
                               "out itself, slowly");
            notes.emplace_back("a guest's kernel chooses its defences against speculative "
                               "execution by the vendor that it sees at its boot: on the other "
                               "vendor's hosts they may not be the right ones");
        }
        if (accelerators_)
            notes.emplace_back("the hosts have different accelerators: kvm=off keeps KVM's clock "
                               "from guests, which could not go to another accelerator with it");
        for (const char* name : {"rtm", "hle"})
            if (baseline_.features.contains(name))
                notes.emplace_back(std::string(name) + " is in it: microcode may take it away "
                                                       "from a host at any update");
    }

    const std::vector<CpuHost>& hosts_;
    std::vector<const CpuHost*> qemu_hosts_;
    bool vendors_;
    bool accelerators_;
    CpuBaseline baseline_;
};

} // namespace

bool CpuHost::has(const std::string& feature) const
{
    if (features.contains(feature))
        return true;
    const auto place = is_xen() ? register_of_feature(feature) : std::nullopt;
    return place && (bits_between_kinds(place->first) >> place->second & 1) == 0;
}

Result<CpuHost> CpuHost::from_json(std::string name, const Json& description)
{
    CpuHost host;
    host.name = std::move(name);
    host.version = json_string(description, "version").substr(0, longest_name);
    host.accelerator = json_string(description, "accelerator").substr(0, longest_name);
    host.vendor = json_string(description, "vendor").substr(0, longest_name);
    const std::unexpected<Error> strange =
        fail(ErrorKind::Invalid, host.name + " is no description of a host's CPUs",
             "drover cpu-baseline --describe writes one");
    if (!description.is_object())
        return strange;
    auto features = read_names(description, "features");
    auto known = read_names(description, "known");
    const auto models = description.find("models");
    if (!features || !known || models == description.end() || !models->is_object() ||
        models->size() > most_models || host.accelerator.empty())
        return strange;
    if (host.is_xen() && !read_registers(description, host.registers))
        return strange;
    host.features = std::move(*features);
    host.known = std::move(*known);
    for (const auto& [model, list] : models->items()) {
        auto names = read_names(*models, model.c_str());
        if (!names || !is_plain_name(model))
            return strange;
        host.models[model] = std::move(*names);
    }
    return host;
}

Json CpuBaseline::to_json() const
{
    Json values = Json::object();
    for (const auto& [name, value] : registers) {
        char text[32];
        snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(value));
        values[name] = text;
    }
    return {{"cpu", words},
            {"model", model},
            {"xl-cpuid", xl_words},
            {"features", features},
            {"left-out", left_out},
            {"notes", notes},
            {"registers", std::move(values)},
            {"xcr0", xcr0},
            {"xsave-bytes", xsave_bytes}};
}

Result<CpuBaseline> cpu_baseline(const std::vector<CpuHost>& hosts)
{
    if (hosts.empty())
        return fail(ErrorKind::Invalid, "no host is given");
    return BaselineMaker(hosts).make();
}

} // namespace drover::tools
