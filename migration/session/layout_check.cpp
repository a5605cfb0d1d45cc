// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/session/layout_check.h"

namespace drover {

namespace {

const Json& layout_part(const Json& machine, const char* name)
{
    static const Json none = Json::object();
    const auto found = machine.find(name);
    return found != machine.end() && found->is_object() ? *found : none;
}

std::string as_text(const Json& value)
{
    return value.is_string() ? value.get<std::string>() : dump_json(value);
}

/// What both sides tell must be the same; what only one of them tells is of another version.
Status check_common(const Json& ours, const Json& theirs, const std::string& what, const char* hint)
{
    for (const auto& [name, value] : ours.items()) {
        const auto other = theirs.find(name);
        if (other == theirs.end() || *other == value)
            continue;
        return fail(ErrorKind::Incompatible,
                    what + " differs: " + name + " is " + as_text(value) + " at the source and " +
                        as_text(*other) + " at the destination",
                    hint);
    }
    return {};
}

/// Memory that can change its size (ACPI tables) only has to fit.
Status check_own_memory(const Json& ours, const Json& theirs)
{
    if (ours.empty() || theirs.empty())
        return {};
    for (const auto& [name, block] : ours.items()) {
        const auto other = theirs.find(name);
        if (other == theirs.end())
            return fail(ErrorKind::Incompatible,
                        "the destination has no memory " + name + ", as the source has",
                        "give both sides the same devices, with the same ROMs and firmware");
        const uint64_t used = json_u64(block, "used");
        const uint64_t total = json_u64(*other, "total");
        const bool grows = json_u64(block, "total") != used || json_u64(*other, "used") != total;
        if (grows ? used <= total : used == total)
            continue;
        return fail(ErrorKind::Incompatible,
                    "the memory " + name + " has " + std::to_string(used) +
                        " bytes at the source and " + std::to_string(total) + " at the destination",
                    "give both sides the same ROM and firmware files, and the same video memory");
    }
    return {};
}

/// The device that gives a guest from Xen a place for its tables: ivshmem, which Xen has not.
bool is_place_of_tables(const Json& device)
{
    return as_text(device).starts_with("1af4:1110");
}

Status check_places(const Json& ours, const Json& theirs, bool other_kind)
{
    const char* hint = "give both sides the same -device options in the same order, or addr=";
    if (ours.empty() || theirs.empty())
        return {};
    if (Status same = check_common(ours, theirs, "the PCI bus", hint); !same)
        return same;
    for (const auto& [place, device] : ours.items())
        if (!theirs.contains(place) && !(other_kind && is_place_of_tables(device)))
            return fail(ErrorKind::Incompatible,
                        "the destination has no PCI device at " + place +
                            ", where the source has " + as_text(device),
                        hint);
    for (const auto& [place, device] : theirs.items())
        if (!ours.contains(place) && !(other_kind && is_place_of_tables(device)))
            return fail(ErrorKind::Incompatible,
                        "the destination has a PCI device that the source lacks: " +
                            as_text(device) + " at " + place,
                        hint);
    return {};
}

} // namespace

Status check_layout(const Json& source, const Json& destination)
{
    const auto ours = [&](const char* name) -> const Json& { return layout_part(source, name); };
    const auto theirs = [&](const char* name) -> const Json& {
        return layout_part(destination, name);
    };
    if (Status same = check_common(ours("cpu"), theirs("cpu"), "the CPU",
                                   "give both sides the same named -cpu model");
        !same)
        return same;
    if (Status same = check_common(ours("topology"), theirs("topology"), "the CPU topology",
                                   "give both sides the same -smp, maxcpus included");
        !same)
        return same;
    if (Status same = check_common(ours("dimms"), theirs("dimms"), "where memory is plugged",
                                   "give the destination's memory devices the addr= and slot= that "
                                   "query-memory-devices tells at the source");
        !same)
        return same;
    if (Status same = check_own_memory(ours("own_memory"), theirs("own_memory")); !same)
        return same;
    return check_places(ours("pci"), theirs("pci"),
                        json_string(source, "kind") != json_string(destination, "kind"));
}

} // namespace drover
