// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/state/device_bytes.h"

#include "vmm/qemu/state/stream_marks.h"

#include <algorithm>

namespace drover::qemu {

namespace {

constexpr uint64_t largest_device = 64U << 20; // bytes
constexpr uint64_t version_size = 4;           // bytes, the last of a subsection's header

/// A subsection's header: its mark, the length of its name, its name, its version.
uint64_t header_size(std::string_view name)
{
    return 1 + 1 + name.size() + version_size;
}

size_t count_plain(std::span<const StateField> fields)
{
    size_t count = 0;
    for (const StateField& field : fields)
        count += (field.type == subsection_type || field.members.empty() ? 1 : 0) +
                 count_plain(field.members);
    return count;
}

/// Names a section's plain fields and gives each its bytes.
class Flattening {
public:
    /// `bytes` are the section's, of which the fields' places are `at` too much.
    Flattening(std::span<const uint8_t> bytes, uint64_t at, std::vector<state::DeviceField>& out)
        : bytes_(bytes), at_(at), out_(out)
    {
    }

    void add(std::span<const StateField> fields)
    {
        for (const StateField& field : fields) {
            const size_t before = path_.size();
            add(field);
            path_.resize(before);
        }
    }

private:
    void add(const StateField& field)
    {
        const bool is_subsection = field.type == subsection_type;
        path_ += is_subsection ? "[" : "";
        field.append_name(path_);
        path_ += is_subsection ? "]" : "";
        if (is_subsection)
            add_value(field, field.at + header_size(field.label) - version_size, version_size, 1);
        else if (field.members.empty())
            add_value(field, field.at, field.size, field.count);
        if (field.members.empty())
            return;
        path_ += '/';
        add(field.members);
    }

    void add_value(const StateField& field, uint64_t at, uint64_t size, uint64_t count)
    {
        const auto value = bytes_.subspan(at - at_, size);
        out_.push_back({path_,
                        std::string(field.type),
                        {value.begin(), value.end()},
                        static_cast<uint32_t>(count)});
    }

    std::span<const uint8_t> bytes_;
    uint64_t at_;
    std::vector<state::DeviceField>& out_;
    std::string path_;
};

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
    std::vector<uint8_t> bytes(section.state.size);
    if (const Status read = source.read(section.state.at, std::as_writable_bytes(std::span(bytes)));
        !read)
        return std::unexpected(read.error());
    device.fields.reserve(count_plain(section.state.members));
    Flattening(bytes, section.state.at, device.fields).add(section.state.members);
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

void append_bytes(const state::Device& device, std::vector<std::byte>& out)
{
    const auto append = [&out](std::span<const std::byte> bytes) {
        out.insert(out.end(), bytes.begin(), bytes.end());
    };
    for (const state::DeviceField& field : device.fields) {
        if (field.type == subsection_type) {
            const std::string_view name = subsection_name(field.name);
            out.push_back(std::byte{Mark::Subsection});
            out.push_back(static_cast<std::byte>(name.size()));
            append(std::as_bytes(std::span(name)));
        }
        append(std::as_bytes(std::span(field.value)));
    }
}

std::vector<std::byte> device_bytes(const state::Device& device)
{
    std::vector<std::byte> out;
    append_bytes(device, out);
    return out;
}

const state::DeviceField* find_field(const state::Device& device, std::string_view name)
{
    const auto found = std::ranges::find(device.fields, name, &state::DeviceField::name);
    return found != device.fields.end() ? &*found : nullptr;
}

} // namespace drover::qemu
