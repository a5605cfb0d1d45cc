// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/session/cpu_check.h"

#include <algorithm>

namespace drover {

namespace {

constexpr std::string_view hypervisor_leaves = "CPUID.4000";
constexpr size_t most_registers = 256; ///< in one description

/// Bits of a register that are looked at in a way of their own.
struct BitsOf {
    std::string_view name;
    uint64_t bits;
};

uint64_t bits_of(std::span<const BitsOf> list, const std::string& name)
{
    const auto found = std::ranges::find(list, name, &BitsOf::name);
    return found != list.end() ? found->bits : 0;
}

/// Bits that do not belong to the CPU model: HTT follows from the topology (and QEMU 10 shows it
/// where 7.2 did not), OSXSAVE and OSPKE from what the guest itself has switched on.
constexpr BitsOf not_compared[] = {
    {"CPUID.1.0:EDX", 1U << 28}, {"CPUID.1.0:ECX", 1U << 27}, {"CPUID.7.0:ECX", 1U << 4}};

/// Between kinds of hypervisors besides: copies of leaf 1 that AMD's CPUs have, topology
/// (cmp-legacy, topoext), and what a guest gets from its interrupt controller or machine checks.
constexpr BitsOf of_the_platform[] = {
    {"CPUID.1.0:ECX", 1U << 21 | 1U << 27 | 1U << 31}, // x2apic, osxsave, hypervisor
    {"CPUID.6.0:EAX", UINT64_MAX},                     // arat
    {"CPUID.7.0:EBX", 1U << 1},                        // tsc-adjust
    {"CPUID.80000001.0:EDX", 0x0183f3ff},
    {"CPUID.80000001.0:ECX", 1U << 1 | 1U << 3 | 1U << 4 | 1U << 22},
    {"CPUID.80000008.0:EBX", 1U << 20}, // no-lmsl: that there is not something
};

/// For guests of its own, which show in its state where it has some.
constexpr BitsOf of_virtualization[] = {{"CPUID.1.0:ECX", 1U << 5},
                                        {"CPUID.80000001.0:ECX", 1U << 2},
                                        {"CPUID.8000000A.0:EDX", UINT64_MAX}};

const Json* registers_of(const Json& machine)
{
    const auto found = machine.find("cpu_features");
    const bool usable =
        found != machine.end() && found->is_object() && found->size() <= most_registers;
    return usable ? &*found : nullptr;
}

std::string in_hex(uint64_t bits)
{
    char text[32];
    snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(bits));
    return text;
}

/// What the guest sees of its CPU must stay as it is. A feature that it uses and the destination
/// lacks crashes it, sooner or later; one that appears under it (-cpu host or max on a newer host)
/// changes what it has computed from CPUID: the size of what XSAVE writes, say.
void judge_register(const std::string& name, uint64_t here, uint64_t there, Findings& found)
{
    const auto words = [&name](uint64_t bits) {
        return " (" + name + ", bits " + in_hex(bits) + ": " + feature_names(name, bits) + ")";
    };
    const char* remedy = "give both sides the same named -cpu model";
    if ((here & ~there) != 0)
        found.block("the destination's CPU lacks features that the guest uses" +
                        words(here & ~there),
                    remedy);
    else if (here != there)
        found.block("the destination's CPU has features that the guest has not seen so far" +
                        words(there & ~here),
                    remedy);
}

void add_names(std::string& names, const std::string& name, uint64_t bits)
{
    if (bits != 0)
        names += (names.empty() ? "" : ", ") + feature_names(name, bits);
}

std::string switched_off(const std::string& names)
{
    std::string words;
    for (size_t at = 0; at < names.size();) {
        const size_t end = std::min(names.find(", ", at), names.size());
        const std::string name = names.substr(at, end - at);
        if (!name.starts_with("bit "))
            words += ",-" + name;
        at = end + 2;
    }
    return words;
}

/// Between kinds no two CPUs are the same: what is missing counts.
void judge_between_kinds(const Json& ours, const Json& theirs, Findings& found)
{
    std::string missing;
    std::string nested;
    std::string appear;
    for (const auto& [name, value] : ours.items()) {
        if (name.starts_with(hypervisor_leaves) || !theirs.contains(name))
            continue;
        const uint64_t own_guests = bits_of(of_virtualization, name);
        const uint64_t compared = bits_between_kinds(name) | own_guests;
        const uint64_t here = json_u64(ours, name.c_str()) & compared;
        const uint64_t there = json_u64(theirs, name.c_str()) & compared;
        add_names(missing, name, here & ~there & ~own_guests);
        add_names(nested, name, here & ~there & own_guests);
        add_names(appear, name, there & ~here & ~own_guests);
    }
    if (!missing.empty())
        found.block("the destination's CPU lacks features that the guest uses: " + missing,
                    "start the guest with a -cpu model that both hosts have, or with " +
                        switched_off(missing).erase(0, 1) + "; drover cpu-baseline computes one");
    if (!nested.empty())
        found.warn("the guest cannot run guests of its own there, and cannot go while it does: "
                   "the destination's CPU lacks " +
                       nested,
                   "");
    if (!appear.empty())
        found.warn("the destination's CPU has features that the guest has not seen so far: " +
                       appear,
                   "a guest that looks again, as programs do that start, may use them, and then "
                   "cannot go back");
}

} // namespace

bool has_feature(const Json& machine, const char* register_name, unsigned bit)
{
    const Json* registers = registers_of(machine);
    return registers != nullptr && (json_u64(*registers, register_name) >> bit & 1) != 0;
}

uint64_t bits_between_kinds(const std::string& register_name)
{
    return ~(bits_of(of_the_platform, register_name) | bits_of(not_compared, register_name) |
             bits_of(of_virtualization, register_name));
}

void judge_cpu_features(const Json& source, const Json& destination, StateForm form,
                        Findings& found)
{
    const Json* ours = registers_of(source);
    const Json* theirs = registers_of(destination);
    if (ours == nullptr || theirs == nullptr)
        return;
    if (json_string(source, "kind") != json_string(destination, "kind"))
        return judge_between_kinds(*ours, *theirs, found);
    for (const auto& [name, value] : ours->items()) {
        if (form == StateForm::Neutral && name.starts_with(hypervisor_leaves))
            continue; // judge_translation() looks at them
        const uint64_t ignored = bits_of(not_compared, name);
        judge_register(name, json_u64(*ours, name.c_str()) & ~ignored,
                       json_u64(*theirs, name.c_str()) & ~ignored, found);
    }
}

} // namespace drover
