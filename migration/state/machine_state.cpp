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

constexpr size_t memory_page = 4096;         // bytes
constexpr size_t usual_devices = 256U << 10; // bytes, of all but memory

/// How much room the parts may take: so that they are not moved while they grow.
size_t room_for(const MachineState& machine)
{
    size_t room = usual_devices;
    for (const Memory& memory : machine.memory)
        room += memory.bytes.size() + memory_page;
    return room;
}

/// Its kind's length, its kind, its version, its length and its bytes.
template <class Part> void append_part(std::vector<std::byte>& out, const Part& part)
{
    constexpr std::string_view kind = Part::kind;
    stream::append_le(out, static_cast<uint8_t>(kind.size()));
    const auto name = std::as_bytes(std::span(kind));
    out.insert(out.end(), name.begin(), name.end());
    stream::append_le(out, uint32_t{Part::version});
    const size_t length_at = out.size();
    stream::append_le(out, uint64_t{0});
    const size_t begin = out.size();
    Encoder encoder(out);
    describe(encoder, part);
    stream::store_le(static_cast<uint64_t>(out.size() - begin), out.data() + length_at);
}

struct PartBytes {
    std::string_view kind;
    uint32_t version = 0;
    std::span<const std::byte> bytes;
};

template <class Part> Status take(const PartBytes& part, std::vector<Part>& list)
{
    auto decoded = decode<Part>(part.bytes);
    if (!decoded)
        return std::unexpected(std::move(decoded.error()).in(part.kind));
    list.push_back(std::move(*decoded));
    return {};
}

template <class Part> Status take(const PartBytes& part, std::optional<Part>& single)
{
    if (single)
        return fail(ErrorKind::Protocol,
                    "the machine's state has two parts of kind " + std::string(part.kind));
    auto decoded = decode<Part>(part.bytes);
    if (!decoded)
        return std::unexpected(std::move(decoded.error()).in(part.kind));
    single = std::move(*decoded);
    return {};
}

Status take_part(const PartBytes& part, MachineState& machine)
{
    bool is_known = false;
    Status taken;
    for_each_member(machine, [&](auto& member) {
        using Part = typename Held<std::remove_reference_t<decltype(member)>>::Part;
        if (part.kind == Part::kind && part.version == Part::version) {
            is_known = true;
            taken = take(part, member);
        }
    });
    if (!is_known)
        return fail(ErrorKind::Incompatible,
                    "the machine's state has a part of kind " + std::string(part.kind) +
                        ", version " + std::to_string(part.version) + ", which is not known here",
                    "use the same version of drover on both sides");
    return taken;
}

} // namespace

std::vector<std::byte> encode_machine(const MachineState& machine)
{
    uint32_t count = 0;
    for_each_member(machine, [&count](const auto& member) {
        for_each_part(member, [&count](const auto& /*part*/) { ++count; });
    });
    std::vector<std::byte> out;
    out.reserve(room_for(machine));
    stream::append_le(out, count);
    for_each_member(machine, [&out](const auto& member) {
        for_each_part(member, [&out](const auto& part) { append_part(out, part); });
    });
    return out;
}

Result<MachineState> decode_machine(std::span<const std::byte> bytes)
{
    PartReader reader(bytes);
    MachineState machine;
    const auto count = reader.number<uint32_t>();
    if (count > most_parts)
        return fail(ErrorKind::Protocol, "the machine's state has too many parts");
    for (uint32_t i = 0; i < count && reader.good(); ++i) {
        PartBytes part;
        const auto kind = reader.take(reader.number<uint8_t>());
        part.kind = {reinterpret_cast<const char*>(kind.data()), kind.size()};
        part.version = reader.number<uint32_t>();
        part.bytes = reader.take(reader.number<uint64_t>());
        if (!reader.good())
            break;
        if (Status taken = take_part(part, machine); !taken)
            return std::unexpected(std::move(taken.error()));
    }
    if (!reader.good() || reader.left() != 0)
        return fail(ErrorKind::Protocol, "the machine's state has not its form");
    return machine;
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
