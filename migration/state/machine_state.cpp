// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/state/machine_state.h"

namespace drover::state {

namespace {

template <class T> struct Held {
    using Part = T;
};
template <class T> struct Held<std::vector<T>> {
    using Part = T;
};
template <class T> struct Held<std::optional<T>> {
    using Part = T;
};

/// Calls `visit` with each member, in the order in which parts are sent.
template <class Machine, class Visit> void for_each_member(Machine& machine, Visit visit)
{
    visit(machine.vcpus);
    visit(machine.lapics);
    visit(machine.ioapic);
    visit(machine.pic);
    visit(machine.pit);
    visit(machine.rtc);
    visit(machine.clocks);
    visit(machine.acpi_pm);
    visit(machine.pci_routing);
    visit(machine.devices);
}

template <class Part, class Visit> void for_each_part(const std::vector<Part>& list, Visit visit)
{
    for (const Part& part : list)
        visit(part);
}

template <class Part, class Visit>
void for_each_part(const std::optional<Part>& single, Visit visit)
{
    if (single)
        visit(*single);
}

template <class Part> void add(std::vector<StatePart>& parts, const Part& part)
{
    parts.push_back({Part::kind, Part::version, encode(part)});
}

template <class Part> Status take(const StatePart& part, std::vector<Part>& list)
{
    auto decoded = decode<Part>(part.bytes);
    if (!decoded)
        return std::unexpected(std::move(decoded.error()).in(part.kind));
    list.push_back(std::move(*decoded));
    return {};
}

template <class Part> Status take(const StatePart& part, std::optional<Part>& single)
{
    if (single)
        return fail(ErrorKind::Protocol, "the machine's state has two parts of kind " + part.kind);
    auto decoded = decode<Part>(part.bytes);
    if (!decoded)
        return std::unexpected(std::move(decoded.error()).in(part.kind));
    single = std::move(*decoded);
    return {};
}

Status take_part(const StatePart& part, MachineState& machine)
{
    Status taken = fail(ErrorKind::Incompatible,
                        "the machine's state has a part of kind " + part.kind + ", version " +
                            std::to_string(part.version) + ", which is not known here",
                        "use the same version of drover on both sides");
    for_each_member(machine, [&](auto& member) {
        using Part = typename Held<std::remove_reference_t<decltype(member)>>::Part;
        if (part.kind == Part::kind && part.version == Part::version)
            taken = take(part, member);
    });
    return taken;
}

} // namespace

std::vector<StatePart> to_parts(const MachineState& machine)
{
    std::vector<StatePart> parts;
    for_each_member(machine, [&parts](const auto& member) {
        for_each_part(member, [&parts](const auto& part) { add(parts, part); });
    });
    return parts;
}

Result<MachineState> from_parts(std::span<const StatePart> parts)
{
    MachineState machine;
    for (const StatePart& part : parts)
        if (const Status taken = take_part(part, machine); !taken)
            return std::unexpected(taken.error());
    return machine;
}

Json to_json(const MachineState& machine)
{
    Json json = Json::object();
    for_each_member(machine, [&json](const auto& member) {
        using Member = std::remove_cvref_t<decltype(member)>;
        Json parts = Json::array();
        for_each_part(member, [&parts](const auto& part) { parts.push_back(part_to_json(part)); });
        using Part = typename Held<Member>::Part;
        if (detail::IsList<Member>::value)
            json[Part::kind] = std::move(parts);
        else if (!parts.empty())
            json[Part::kind] = std::move(parts[0]);
    });
    return json;
}

} // namespace drover::state
