// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/state/stream_writer.h"

#include "vmm/qemu/state/device_bytes.h"
#include "vmm/qemu/state/stream_marks.h"

#include <algorithm>

namespace drover::qemu {

namespace {

using state::frame_size;

constexpr uint32_t ram_section = 1;
constexpr uint32_t first_device_section = 2;
constexpr uint32_t ram_version = 4;

class StreamWriter {
public:
    StreamWriter(const StreamPlan& plan, ByteSink& sink) : plan_(plan), sink_(sink) {}

    Status write()
    {
        if (const Status done = copy_configuration(); !done)
            return done;
        begin_ram();
        if (const Status done = write_pages(); !done)
            return done;
        uint32_t id = first_device_section;
        for (const state::Device& section : plan_.sections)
            write_section(id++, section);
        sink_.big_endian(1, Mark::End);
        const std::string description = plan_.described ? describe_sections(plan_.sections) : "{}";
        sink_.big_endian(1, Mark::Description);
        sink_.big_endian(4, description.size());
        sink_.write_text(description);
        return sink_.status();
    }

private:
    /// The magic, the version, and what the machine is: that QEMU's own words.
    Status copy_configuration()
    {
        std::vector<std::byte> bytes(plan_.layout.sections_at - plan_.layout.at);
        if (const Status read = plan_.layout_source.read(plan_.layout.at, bytes); !read)
            return read;
        sink_.write(bytes);
        return {};
    }

    void footer(uint32_t id)
    {
        sink_.big_endian(1, Mark::Footer);
        sink_.big_endian(4, id);
    }

    void header(Mark::Value mark, uint32_t id, const std::string& name, uint32_t instance,
                uint32_t version)
    {
        sink_.big_endian(1, mark);
        sink_.big_endian(4, id);
        sink_.big_endian(1, name.size());
        sink_.write_text(name);
        sink_.big_endian(4, instance);
        sink_.big_endian(4, version);
    }

    void begin_ram()
    {
        header(Mark::SectionStart, ram_section, "ram", 0, ram_version);
        uint64_t total = 0;
        for (const SavedRam& block : plan_.layout.ram)
            total += block.size;
        sink_.big_endian(8, total | PageFlag::Blocks);
        for (const SavedRam& block : plan_.layout.ram) {
            sink_.big_endian(1, block.name.size());
            sink_.write_text(block.name);
            sink_.big_endian(8, block.size);
            if (plan_.layout.ignores_shared())
                sink_.big_endian(8, block.address);
        }
        sink_.big_endian(8, PageFlag::PartEnd);
        footer(ram_section);
    }

    Status write_pages()
    {
        sink_.big_endian(1, Mark::SectionEnd);
        sink_.big_endian(4, ram_section);
        for (const SavedRam& block : plan_.layout.ram) {
            if (plan_.layout.ignores_shared() && block.raw + block.zero == 0)
                continue; // shared memory
            const SavedBlockPages own(block, plan_.layout_source);
            const auto given = plan_.ram.find(block.name);
            const BlockPages& pages = given != plan_.ram.end() ? *given->second : own;
            if (const Status done = write_block(block, pages); !done)
                return std::unexpected(Error(done.error()).in(block.name));
        }
        sink_.big_endian(8, PageFlag::PartEnd);
        footer(ram_section);
        return sink_.status();
    }

    Status write_block(const SavedRam& block, const BlockPages& pages)
    {
        std::array<std::byte, frame_size> page = {};
        for (uint64_t number = 0; number < block.size / frame_size; ++number) {
            bool zero = pages.is_zero(number);
            if (!zero) {
                if (const Status read = pages.read(number, page); !read)
                    return read;
                zero =
                    std::ranges::all_of(page, [](std::byte byte) { return byte == std::byte{}; });
            }
            const uint64_t same = number == 0 ? 0 : uint64_t{PageFlag::SameBlock};
            sink_.big_endian(8, number * frame_size | same |
                                    (zero ? uint64_t{PageFlag::Zero} : uint64_t{PageFlag::Raw}));
            if (number == 0) {
                sink_.big_endian(1, block.name.size());
                sink_.write_text(block.name);
            }
            if (zero)
                sink_.big_endian(1, 0);
            else
                sink_.write(page);
            if (!sink_.status())
                return sink_.status();
        }
        return {};
    }

    void write_section(uint32_t id, const state::Device& section)
    {
        header(Mark::SectionFull, id, section.name, section.instance, section.model_version);
        bytes_.clear();
        append_bytes(section, bytes_);
        sink_.write(bytes_);
        footer(id);
    }

    const StreamPlan& plan_;
    ByteSink& sink_;
    std::vector<std::byte> bytes_; ///< of a section
};

/// What comes next in a field's path: "[a/b]" of "[a/b]/c", "d" of "d/e".
std::string_view next_of(std::string_view path)
{
    if (path.starts_with('['))
        return path.substr(0, path.find(']') + 1);
    return path.substr(0, path.find('/'));
}

/// The fields from `begin` on that go on as that one does.
size_t end_of_group(std::span<const state::DeviceField> fields, size_t depth)
{
    const std::string_view first = std::string_view(fields[0].name).substr(depth);
    size_t end = 1;
    while (end < fields.size() && fields[end].name.size() > depth &&
           next_of(std::string_view(fields[end].name).substr(depth)) == next_of(first))
        ++end;
    return end;
}

uint64_t bytes_of(std::span<const state::DeviceField> fields)
{
    state::Device whole;
    whole.fields.assign(fields.begin(), fields.end());
    return device_bytes(whole).size();
}

Json describe_leaf(std::string_view name, const state::DeviceField& field)
{
    const uint64_t count = std::max<uint64_t>(field.count, 1);
    Json entry = {{"name", name}, {"type", field.type}, {"size", field.value.size() / count}};
    if (count > 1)
        entry["array_len"] = count;
    return entry;
}

/// `depth` characters of the fields' names are what they are in.
void describe_fields(std::span<const state::DeviceField> fields, size_t depth, Json& owner)
{
    owner["fields"] = Json::array();
    while (!fields.empty()) {
        const std::string_view path = std::string_view(fields[0].name).substr(depth);
        const std::string_view name = next_of(path);
        const size_t end = end_of_group(fields, depth);
        const auto group = fields.first(end);
        fields = fields.subspan(end);
        const size_t deeper = depth + name.size() + 1;
        if (name.starts_with('[')) { // the first of the group tells its version
            Json inner = {{"vmsd_name", name.substr(1, name.size() - 2)},
                          {"version", group[0].value.back()}};
            describe_fields(group.subspan(1), deeper, inner);
            owner["subsections"].push_back(std::move(inner));
        } else if (name == path) {
            for (const state::DeviceField& field : group)
                owner["fields"].push_back(describe_leaf(name, field));
        } else {
            Json inner = {{"vmsd_name", name}, {"version", 1}};
            describe_fields(group, deeper, inner);
            owner["fields"].push_back({{"name", name},
                                       {"type", "struct"},
                                       {"size", bytes_of(group)},
                                       {"struct", std::move(inner)}});
        }
    }
}

Json describe_section(const state::Device& section)
{
    Json device = {{"name", section.name},
                   {"instance_id", section.instance},
                   {"vmsd_name", section.name},
                   {"version", section.model_version}};
    describe_fields(section.fields, 0, device);
    return device;
}

} // namespace

std::string describe_sections(std::span<const state::Device> sections)
{
    Json devices = Json::array();
    for (const state::Device& section : sections)
        devices.push_back(describe_section(section));
    return dump_json({{"page_size", frame_size}, {"devices", std::move(devices)}});
}

Status write_qemu_stream(const StreamPlan& plan, ByteSink& sink)
{
    return StreamWriter(plan, sink).write();
}

} // namespace drover::qemu
