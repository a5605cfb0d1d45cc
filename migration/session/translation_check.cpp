// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/session/translation_check.h"

#include "migration/session/cpu_check.h"

#include <algorithm>
#include <array>

namespace drover {

namespace {

/// Features of CPUs whose registers the neutral state has no place for (docs/machine-state.md).
/// Where a part of it gets one, its line goes.
struct Uncarried {
    const char* register_name;
    unsigned bit;
    const char* name;  ///< for the guest's owner
    bool by_xen_alone; ///< QEMU's state has a place for it
};

constexpr Uncarried uncarried[] = {
    {"CPUID.7.0:EBX", 16, "avx512f", false},
    {"CPUID.7.0:EBX", 14, "mpx", false},
    {"CPUID.7.0:EDX", 24, "amx-tile", false},
    {"CPUID.7.0:ECX", 3, "pku", true},
};

constexpr const char* kvm_leaf = "CPUID.40000001.0:EAX";
constexpr std::array kvmclock_bits = {0U, 3U};
/// Two that differ by less than this were measured, and are the same.
constexpr double same_frequency = 0.0005;
// Of a peer's words:
constexpr size_t most_uncarried = 64;
constexpr size_t longest_words = 256;

bool is(const Json& machine, const char* key, const char* value)
{
    return json_string(machine, key) == value;
}

void judge_registers(const Json& source, const Json& destination, Findings& found)
{
    const bool to_or_from_xen = is(source, "kind", "xen") || is(destination, "kind", "xen");
    std::string names;
    std::string off;
    for (const Uncarried& feature : uncarried)
        if ((!feature.by_xen_alone || to_or_from_xen) &&
            has_feature(source, feature.register_name, feature.bit)) {
            names += (names.empty() ? "" : ", ") + std::string(feature.name);
            off += ",-" + std::string(feature.name);
        }
    if (!names.empty())
        found.block("the guest's CPU has " + names + ", whose registers are not translated yet",
                    "start such guests with -cpu MODEL" + off + ", or a model without them");
}

void judge_kvm(const Json& source, const Json& destination, Findings& found)
{
    if (!is(source, "accelerator", "kvm") || is(destination, "accelerator", "kvm"))
        return;
    for (const unsigned bit : kvmclock_bits)
        if (has_feature(source, kvm_leaf, bit))
            return found.block("the guest has KVM's own clock, and there is no KVM there",
                               "start such guests with -cpu …,kvm=off");
}

void judge_hpet(const Json& source, const Json& destination, Findings& found)
{
    const bool to_xen = is(destination, "kind", "xen") && !is(source, "kind", "xen");
    if (!to_xen || !json_bool(source, "hpet"))
        return;
    const char* remedy = "start the guest with -M pc,hpet=off";
    if (json_bool(source, "hpet_counts"))
        found.block("the guest uses its HPET, which runs at 62.5 MHz on Xen, and at 100 MHz here",
                    remedy);
    else
        found.warn("the guest has a HPET, which is not in use: it runs at 62.5 MHz on Xen, and "
                   "at 100 MHz here",
                   remedy);
}

void judge_xen_interfaces(const Json& source, const Json& destination, Findings& found)
{
    if (!is(source, "kind", "xen") || is(destination, "kind", "xen"))
        return;
    if (json_bool(source, "pv_drivers"))
        found.block("the guest uses Xen's paravirtual interface (its clock, its event channels), "
                    "which the destination cannot take over",
                    "boot it with nopv on its kernel's command line, and with xen_platform_pci=0 "
                    "in its xl configuration");
    if (json_bool(source, "viridian"))
        found.block("the guest uses Hyper-V's interface, as Xen offers it, which is not carried",
                    "boot it without viridian= in its xl configuration");
    if (const uint64_t pins = json_u64(source, "high_pins"); pins != 0)
        found.block("the guest has " + std::to_string(pins) +
                        " interrupts on pins of the I/O APIC (GSI) from 24 on, which exist on Xen "
                        "only",
                    "only devices that use MSI-X can leave Xen");
    if (json_bool(source, "hpet_counts"))
        found.block("the guest uses its HPET, which runs at 62.5 MHz here, and at 100 MHz there",
                    "start the guest with hpet=0 in its xl configuration");
}

void judge_uncarried(const Json& source, Findings& found)
{
    const auto list = source.find("uncarried");
    if (list == source.end() || !list->is_array())
        return;
    for (size_t i = 0; i < std::min(list->size(), most_uncarried); ++i) {
        if (!(*list)[i].is_string())
            continue;
        std::string words = (*list)[i].get<std::string>().substr(0, longest_words);
        std::ranges::replace_if(
            words, [](char c) { return c < ' ' || c > '~'; }, '?');
        found.block("the guest cannot leave Xen: " + words, "");
    }
}

std::string megahertz(uint64_t khz)
{
    char text[32];
    snprintf(text, sizeof text, "%.1f MHz", static_cast<double>(khz) / 1000);
    return text;
}

void judge_counter(const Json& source, const Json& destination, Findings& found)
{
    const auto here = static_cast<double>(json_u64(source, "tsc_khz"));
    const auto there = static_cast<double>(json_u64(destination, "tsc_khz"));
    if (here == 0 || there == 0 ||
        (here > there ? here - there : there - here) <= here * same_frequency)
        return;
    found.warn("the time-stamp counter runs at " + megahertz(json_u64(source, "tsc_khz")) +
                   " here, and at " + megahertz(json_u64(destination, "tsc_khz")) +
                   " there: a guest whose clock it is counts its time wrong, unless that host "
                   "can scale it",
               "boot the guest with clocksource=acpi_pm, or give both sides tsc-frequency= where "
               "KVM can scale");
}

} // namespace

void judge_translation(const Json& source, const Json& destination, Findings& found)
{
    judge_registers(source, destination, found);
    judge_kvm(source, destination, found);
    judge_hpet(source, destination, found);
    judge_xen_interfaces(source, destination, found);
    judge_uncarried(source, found);
    judge_counter(source, destination, found);
}

} // namespace drover
