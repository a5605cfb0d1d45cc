// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/state/device_bytes.h"

#include <algorithm>

namespace drover::qemu {

namespace {

constexpr uint64_t largest_device = 64U << 20; // bytes
constexpr std::byte subsection_mark{0x05};
constexpr uint64_t version_size = 4; // bytes, the last of a subsection's header

Result<std::vector<uint8_t>> bytes_at(const ByteSource& source, uint64_t at, uint64_t size)
{
    std::vector<uint8_t> bytes(size);
    if (const Status read = source.read(at, std::as_writable_bytes(std::span(bytes))); !read)
        return std::unexpected(read.error());
    return bytes;
}

/// A subsection's header: its mark, the length of its name, its name, its version.
uint64_t header_size(std::string_view name)
{
    return 1 + 1 + name.size() + version_size;
}

Status flatten(const StateField& field, const std::string& prefix, const ByteSource& source,
               std::vector<state::DeviceField>& out)
{
    const bool is_subsection = field.type == subsection_type;
    const std::string name = prefix + (is_subsection ? "[" + field.name + "]" : field.name);
    const bool has_members = !field.members.empty();
    if (is_subsection || !has_members) {
        const uint64_t at =
            is_subsection ? field.at + header_size(field.name) - version_size : field.at;
        auto value = bytes_at(source, at, is_subsection ? version_size : field.size);
        if (!value)
            return std::unexpected(value.error());
        const uint64_t count = is_subsection ? 1 : field.count;
        out.push_back({name, field.type, std::move(*value), static_cast<uint32_t>(count)});
    }
    for (const StateField& member : field.members)
        if (const Status done = flatten(member, name + "/", source, out); !done)
            return done;
    return {};
}

std::string_view subsection_name(std::string_view path)
{
    const size_t begin = path.rfind('[') + 1;
    return path.substr(begin, path.size() - 1 - begin);
}

} // namespace

Result<state::Device> device_of(const SavedSection& section, const ByteSource& source)
{
    state::Device device = {.name = section.name,
                            .instance = static_cast<uint32_t>(section.instance),
                            .model_version = static_cast<uint32_t>(section.version),
                            .fields = {}};
    if (section.state.size > largest_device)
        return fail(ErrorKind::Refused, section.name + " has more than 64 MiB of state");
    for (const StateField& field : section.state.members)
        if (const Status done = flatten(field, {}, source, device.fields); !done)
            return std::unexpected(done.error());
    return device;
}

state::Device opaque_device(std::string name, uint32_t instance, uint32_t version,
                            std::span<const std::byte> bytes)
{
    const auto* begin = reinterpret_cast<const uint8_t*>(bytes.data());
    return {.name = std::move(name),
            .instance = instance,
            .model_version = version,
            .fields = {{.name = "",
                        .type = std::string(opaque_type),
                        .value = std::vector<uint8_t>(begin, begin + bytes.size())}}};
}

std::vector<std::byte> device_bytes(const state::Device& device)
{
    std::vector<std::byte> out;
    for (const state::DeviceField& field : device.fields) {
        if (field.type == subsection_type) {
            const std::string_view name = subsection_name(field.name);
            out.push_back(subsection_mark);
            out.push_back(static_cast<std::byte>(name.size()));
            std::ranges::copy(std::as_bytes(std::span(name)), std::back_inserter(out));
        }
        std::ranges::copy(std::as_bytes(std::span(field.value)), std::back_inserter(out));
    }
    return out;
}

const state::DeviceField* find_field(const state::Device& device, std::string_view name)
{
    const auto found = std::ranges::find(device.fields, name, &state::DeviceField::name);
    return found != device.fields.end() ? &*found : nullptr;
}

} // namespace drover::qemu
