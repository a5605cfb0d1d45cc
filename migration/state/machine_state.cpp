// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/state/machine_state.h"

#include <algorithm>

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
    visit(machine.memory);
    visit(machine.serials);
    visit(machine.fw_cfg);
    visit(machine.virtio);
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

constexpr uint32_t most_parts = 65'536;

class PartReader {
public:
    explicit PartReader(std::span<const std::byte> bytes) : rest_(bytes) {}
    template <class T> T number()
    {
        const auto bytes = take(sizeof(T));
        return bytes.size() == sizeof(T) ? stream::load_le<T>(bytes.data()) : T{};
    }
    std::span<const std::byte> take(uint64_t size)
    {
        good_ = good_ && size <= rest_.size();
        if (!good_)
            return {};
        const auto taken = rest_.first(size);
        rest_ = rest_.subspan(size);
        return taken;
    }
    [[nodiscard]] bool good() const { return good_; }
    [[nodiscard]] size_t left() const { return rest_.size(); }

private:
    std::span<const std::byte> rest_;
    bool good_ = true;
};

template <class Part> Json shown(const Part& part)
{
    return part_to_json(part);
}

/// Of memory nobody reads the bytes in JSON.
template <> Json shown(const Memory& memory)
{
    return {
        {"name", memory.name}, {"size-bytes", memory.size}, {"used-bytes", memory.bytes.size()}};
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

std::vector<std::byte> encode_parts(std::span<const StatePart> parts)
{
    std::vector<std::byte> out;
    stream::append_le(out, static_cast<uint32_t>(parts.size()));
    for (const StatePart& part : parts) {
        stream::append_le(out, static_cast<uint8_t>(part.kind.size()));
        std::ranges::copy(std::as_bytes(std::span(part.kind)), std::back_inserter(out));
        stream::append_le(out, part.version);
        stream::append_le(out, static_cast<uint64_t>(part.bytes.size()));
        out.insert(out.end(), part.bytes.begin(), part.bytes.end());
    }
    return out;
}

Result<std::vector<StatePart>> decode_parts(std::span<const std::byte> bytes)
{
    PartReader reader(bytes);
    const auto count = reader.number<uint32_t>();
    if (count > most_parts)
        return fail(ErrorKind::Protocol, "the machine's state has too many parts");
    std::vector<StatePart> parts;
    for (uint32_t i = 0; i < count && reader.good(); ++i) {
        StatePart part;
        const auto kind = reader.take(reader.number<uint8_t>());
        part.kind.assign(reinterpret_cast<const char*>(kind.data()), kind.size());
        part.version = reader.number<uint32_t>();
        const auto rest = reader.take(reader.number<uint64_t>());
        part.bytes.assign(rest.begin(), rest.end());
        parts.push_back(std::move(part));
    }
    if (!reader.good() || reader.left() != 0)
        return fail(ErrorKind::Protocol, "the machine's state has not its form");
    return parts;
}

Json to_json(const MachineState& machine)
{
    Json json = Json::object();
    for_each_member(machine, [&json](const auto& member) {
        using Member = std::remove_cvref_t<decltype(member)>;
        Json parts = Json::array();
        for_each_part(member, [&parts](const auto& part) { parts.push_back(shown(part)); });
        using Part = typename Held<Member>::Part;
        if (detail::IsList<Member>::value)
            json[Part::kind] = std::move(parts);
        else if (!parts.empty())
            json[Part::kind] = std::move(parts[0]);
    });
    return json;
}

} // namespace drover::state
