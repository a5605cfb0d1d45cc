// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/session/compatibility.h"

#include "migration/session/cpu_check.h"
#include "migration/session/layout_check.h"
#include "migration/session/translation_check.h"

#include <algorithm>
#include <cctype>

namespace drover {

namespace {

std::string mebibytes(uint64_t bytes)
{
    return std::to_string(bytes >> 20) + " MiB";
}

Status check_same(const Json& source, const Json& destination, const char* key, const char* what,
                  const char* hint)
{
    const std::string a = json_string(source, key);
    const std::string b = json_string(destination, key);
    if (a == b)
        return {};
    return fail(ErrorKind::Incompatible,
                std::string(what) + " differs: '" + a + "' at the source, '" + b +
                    "' at the destination",
                hint);
}

/// "7.2" of "7.2.22".
std::string without_patch_level(const std::string& version)
{
    return version.substr(0, version.find('.', version.find('.') + 1));
}

/// A machine type without a version in its name has another form in each version of QEMU.
Status check_version(const Json& source, const Json& destination)
{
    const std::string machine = json_string(source, "machine");
    const std::string ours = json_string(source, "version");
    const std::string theirs = json_string(destination, "version");
    if (machine.empty() || std::isdigit(static_cast<unsigned char>(machine.back())) != 0 ||
        without_patch_level(ours) == without_patch_level(theirs))
        return {};
    return fail(ErrorKind::Incompatible,
                "the machine type " + machine + " has no version, and the hypervisors have: '" +
                    ours + "' at the source, '" + theirs + "' at the destination",
                "use the same version of the hypervisor on both sides");
}

/// A device of QEMU's, which gives the tables of Xen's firmware a place: on Xen they need none.
constexpr std::string_view home_of_tables = "ivshmem-plain";

/// Of a device that only one side has; `other` is the other one.
bool is_home_of_tables(const Json& other, const std::string& type)
{
    return json_string(other, "kind") == "xen" && type == home_of_tables;
}

Status check_tables(const Json& source, const Json& destination)
{
    if (!json_bool(source, "firmware_tables") || json_string(destination, "kind") != "qemu")
        return {};
    const auto devices = destination.find("devices");
    if (devices != destination.end() && devices->is_object())
        for (const auto& [name, type] : devices->items())
            if (type == home_of_tables)
                return {};
    return fail(ErrorKind::Incompatible,
                "the guest has the tables of Xen's firmware where the destination has no memory",
                "add -object memory-backend-ram,id=acpihole,size=2M "
                "-device ivshmem-plain,memdev=acpihole,master=on");
}

void judge_devices(const Json& source, const Json& destination, Findings& found)
{
    const Json none = Json::object();
    const auto a = source.find("devices");
    const auto b = destination.find("devices");
    const Json& ours = a != source.end() && a->is_object() ? *a : none;
    const Json& theirs = b != destination.end() && b->is_object() ? *b : none;
    const char* hint = "give the destination the same -device options, in the same order";
    for (const auto& [path, type] : ours.items()) {
        const std::string wanted = json_string(ours, path.c_str());
        const std::string there = json_string(theirs, path.c_str());
        if (there.empty() && is_home_of_tables(destination, wanted))
            continue;
        if (there.empty())
            found.block("the destination has no device " + path + " (" + wanted + ")", hint);
        else if (there != wanted)
            found.block("device " + path + " is " + wanted + " at the source and " + there +
                            " at the destination",
                        hint);
    }
    for (const auto& [path, type] : theirs.items())
        if (!ours.contains(path) && !is_home_of_tables(source, json_string(theirs, path.c_str())))
            found.block("the destination has a device that the source lacks: " + path, hint);
}

/// "pc-i440fx" of "pc-i440fx-7.2".
std::string without_version(const std::string& machine)
{
    const size_t dash = machine.rfind('-');
    const bool versioned = dash != std::string::npos && dash + 1 < machine.size() &&
                           std::isdigit(static_cast<unsigned char>(machine[dash + 1])) != 0;
    return versioned ? machine.substr(0, dash) : machine;
}

/// Of QEMU's machine pc: RAM that does not fit below its limit is cut at 3 GiB at the latest.
uint64_t low_memory_of_qemu(const Json& qemu, uint64_t memory)
{
    constexpr uint64_t most_when_cut = 3ULL << 30;
    const uint64_t limit = json_u64(qemu, "max_ram_below_4g", memory + 1);
    return memory < limit ? memory : std::min(limit, most_when_cut);
}

/// What does not fit below the PCI devices' windows lies from 4 GiB on, and how much that is, is
/// chosen at the guest's birth.
Status check_memory_layout(const Json& source, const Json& destination)
{
    const bool from_xen = json_string(source, "kind") == "xen";
    const Json& xen = from_xen ? source : destination;
    const Json& qemu = from_xen ? destination : source;
    const uint64_t memory = json_u64(xen, "memory");
    const uint64_t on_xen = json_u64(xen, "ram_below_4g", memory);
    const uint64_t on_qemu = low_memory_of_qemu(qemu, memory);
    if (memory == 0 || on_xen == on_qemu)
        return {};
    return fail(ErrorKind::Incompatible,
                "of the guest's " + mebibytes(memory) + " QEMU has " + mebibytes(on_qemu) +
                    " below 4 GiB, and Xen " + mebibytes(on_xen),
                !from_xen          ? "write mmio_hole= into the domain's configuration"
                : on_xen == memory ? "start QEMU with -M pc,max-ram-below-4g=3840M"
                                   : "boot the guest with mmio_hole=1024 in its xl configuration");
}

/// Between two kinds of hypervisor the machine is the same, but not its version; and a CPU has
/// another name, if it has any: which features it lacks is found out when its state is translated.
Status check_across_kinds(const Json& source, const Json& destination)
{
    const std::string ours = json_string(source, "machine");
    const std::string theirs = json_string(destination, "machine");
    if (without_version(ours) == without_version(theirs))
        return check_memory_layout(source, destination);
    return fail(ErrorKind::Incompatible,
                "the machine differs: '" + ours + "' at the source, '" + theirs +
                    "' at the destination",
                "guests of Xen's and of -M pc have the same machine");
}

} // namespace

namespace {

struct Field {
    const char* key;
    const char* what;
    const char* hint;
    bool translated = false; ///< may differ in the neutral form
    bool of_a_kind = false;  ///< compared only where both sides are of one kind
};

constexpr Field compared_fields[] = {
    {"kind", "the kind of hypervisor", "use the same -vmm on both sides", true},
    {"arch", "the architecture", "use the emulator of the same architecture on both sides"},
    {"machine", "the machine type", "give both sides the same versioned -machine", false, true},
    {"accelerator", "the accelerator", "give both sides the same -accel", true},
    {"cpu_model", "the CPU model", "give both sides the same -cpu", false, true},
};

Status check_cpus(const Json& source, const Json& destination)
{
    if (json_u64(source, "cpus") == json_u64(destination, "cpus"))
        return {};
    return fail(ErrorKind::Incompatible,
                "the number of vCPUs differs: " + std::to_string(json_u64(source, "cpus")) +
                    " at the source, " + std::to_string(json_u64(destination, "cpus")) +
                    " at the destination",
                "give both sides the same -smp");
}

} // namespace

Findings judge_machines(const Json& source, const Json& destination, StateForm form)
{
    Findings found;
    const bool neutral = form == StateForm::Neutral;
    const bool other_kind = json_string(source, "kind") != json_string(destination, "kind");
    if (other_kind && neutral)
        found.note(check_across_kinds(source, destination));
    for (const Field& field : compared_fields)
        if (!neutral || !(field.translated || (field.of_a_kind && other_kind)))
            found.note(check_same(source, destination, field.key, field.what, field.hint));
    found.note(check_cpus(source, destination));
    if (!neutral)
        found.note(check_version(source, destination));
    judge_cpu_features(source, destination, form, found);
    if (neutral)
        judge_translation(source, destination, found);
    found.note(check_tables(source, destination));
    judge_devices(source, destination, found);
    found.note(check_layout(source, destination));
    return found;
}

Status check_machines(const Json& source, const Json& destination, StateForm form)
{
    Findings found = judge_machines(source, destination, form);
    if (found.blocks.empty())
        return {};
    return std::unexpected(std::move(found.blocks.front()));
}

Status check_identity(const Json& source, const Json& destination)
{
    constexpr std::string_view none = "00000000-0000-0000-0000-000000000000";
    const std::string ours = json_string(source, "uuid", none);
    const std::string theirs = json_string(destination, "uuid", none);
    if (ours == theirs || ours == none || theirs == none)
        return {};
    return fail(
        ErrorKind::Incompatible,
        "the UUID differs: '" + ours + "' at the source, '" + theirs + "' at the destination",
        "migrate to the destination that was started for this guest, or turn validate-uuid off");
}

Status check_ram(std::span<const stream::RamBlockInfo> source,
                 std::span<const RamBlock> destination)
{
    // By name: memory may be named on one side's command line, and plugged by QMP on the other.
    const char* hint = "give both sides the same -m, -numa and memory back-ends; memory that was "
                       "plugged at the source is to be named on the destination's command line, or "
                       "plugged there";
    for (const auto& block : source) {
        const auto theirs = std::ranges::find(destination, block.name, &RamBlock::name);
        if (theirs == destination.end())
            return fail(ErrorKind::Incompatible,
                        "the destination has no RAM block '" + block.name + "' (" +
                            mebibytes(block.size) + ")",
                        hint);
        if (block.size != theirs->size)
            return fail(ErrorKind::Incompatible,
                        "RAM block '" + block.name + "' has " + mebibytes(block.size) +
                            " at the source and " + mebibytes(theirs->size) + " at the destination",
                        "give both sides the same -m");
    }
    for (const RamBlock& block : destination)
        if (std::ranges::find(source, block.name, &stream::RamBlockInfo::name) == source.end())
            return fail(ErrorKind::Incompatible,
                        "the destination has a RAM block that the source lacks: '" + block.name +
                            "' (" + mebibytes(block.size) + ")",
                        hint);
    // Pages name blocks by their place in the list.
    for (size_t i = 0; i < source.size(); ++i)
        if (source[i].name != destination[i].name)
            return fail(ErrorKind::Incompatible,
                        "the two sides have their RAM blocks in different orders",
                        "use the same release of Drover on both hosts");
    return {};
}

uint64_t all_ram(std::span<const stream::RamBlockInfo> blocks)
{
    uint64_t bytes = 0;
    for (const auto& block : blocks)
        bytes += block.size;
    return bytes;
}

std::vector<stream::RamBlockInfo> ram_info(std::span<const RamBlock> ram)
{
    std::vector<stream::RamBlockInfo> info;
    for (const RamBlock& block : ram)
        info.push_back({block.name, block.size, block.backing_page});
    return info;
}

} // namespace drover
