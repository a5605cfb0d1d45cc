// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/state/qemu_state.h"

#include <algorithm>
#include <array>
#include <string_view>

namespace drover::qemu {

namespace {

constexpr uint64_t largest_value = 16U
                                   << 20; // bytes; a field that is longer is no state of a device

enum class Meaning { Bytes, Unsigned, Signed, Truth };

/// By QEMU's name of the type, and the size of an element.
Meaning meaning_of(std::string_view type, uint64_t element)
{
    if (element == 0 || element > sizeof(uint64_t))
        return Meaning::Bytes;
    if (type == "bool")
        return Meaning::Truth;
    if (type.starts_with("uint"))
        return Meaning::Unsigned;
    if (type.starts_with("int") || type == "timer" || type == "pci irq state")
        return Meaning::Signed;
    return Meaning::Bytes;
}

std::string hex(std::span<const std::byte> bytes)
{
    static constexpr std::string_view digits = "0123456789abcdef";
    std::string text;
    text.reserve(2 * bytes.size());
    for (const std::byte byte : bytes) {
        text += digits[std::to_integer<unsigned>(byte) >> 4];
        text += digits[std::to_integer<unsigned>(byte) & 15];
    }
    return text;
}

Json plain_value(Meaning meaning, std::span<const std::byte> bytes)
{
    uint64_t value = 0;
    for (const std::byte byte : bytes)
        value = value << 8 | std::to_integer<uint64_t>(byte);
    if (meaning == Meaning::Truth)
        return value != 0;
    if (meaning == Meaning::Unsigned)
        return value;
    const unsigned unused = 64 - 8 * static_cast<unsigned>(bytes.size());
    return static_cast<int64_t>(value << unused) >> unused;
}

/// Two members of one name, such as two unused gaps, must both be seen.
void put(Json& object, const std::string& name, Json value)
{
    std::string key = name;
    for (int i = 2; object.contains(key); ++i)
        key = name + "#" + std::to_string(i);
    object[key] = std::move(value);
}

Result<Json> members_of(const StateField& field, const ByteSource& source)
{
    Json object = Json::object();
    for (const StateField& member : field.members) {
        auto value = value_of(member, source);
        if (!value)
            return value;
        put(object, member.name(), std::move(*value));
    }
    return object;
}

Json to_json(const SavedRam& ram)
{
    return {{"name", ram.name},       {"size", ram.size},         {"raw-pages", ram.raw},
            {"zero-pages", ram.zero}, {"delta-pages", ram.delta}, {"bytes", ram.bytes}};
}

} // namespace

Result<Json> value_of(const StateField& field, const ByteSource& source)
{
    if (!field.members.empty())
        return members_of(field, source);
    if (field.size > largest_value)
        return fail(ErrorKind::Refused,
                    field.name() + " has " + std::to_string(field.size) + " bytes");
    std::vector<std::byte> bytes(field.size);
    if (const Status read = source.read(field.at, bytes); !read)
        return std::unexpected(read.error());
    const uint64_t element = field.count > 0 ? field.size / field.count : 0;
    const Meaning meaning = meaning_of(field.type, element);
    if (meaning == Meaning::Bytes)
        return hex(bytes);
    if (field.count == 1)
        return plain_value(meaning, bytes);
    Json list = Json::array();
    for (uint64_t at = 0; at + element <= bytes.size(); at += element)
        list.push_back(plain_value(meaning, std::span(bytes).subspan(at, element)));
    return list;
}

Result<Json> to_json(const QemuState& state, const ByteSource& source, const std::string& section)
{
    Json ram = Json::array();
    for (const SavedRam& block : state.ram)
        ram.push_back(to_json(block));
    Json sections = Json::array();
    for (const SavedSection& one : state.sections) {
        if (!section.empty() && one.name != section)
            continue;
        auto value = value_of(one.state, source);
        if (!value)
            return value;
        sections.push_back({{"name", one.name},
                            {"instance", one.instance},
                            {"version", one.version},
                            {"at", one.state.at},
                            {"size", one.state.size},
                            {"state", std::move(*value)}});
    }
    return Json{{"format", "qemu"},
                {"machine", state.machine},
                {"capabilities", state.capabilities},
                {"page-size", state.page_size},
                {"ram", std::move(ram)},
                {"sections", std::move(sections)}};
}

} // namespace drover::qemu
