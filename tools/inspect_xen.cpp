// SPDX-License-Identifier: GPL-2.0-or-later
#include "tools/inspect.h"
#include "vmm/xen/state/xen_machine.h"

#include <cinttypes>
#include <cstdio>

namespace drover::tools {

namespace {

constexpr size_t bytes_a_line = 16;

std::string hex_of(std::span<const std::byte> bytes)
{
    static constexpr char digits[] = "0123456789abcdef";
    std::string text;
    for (const std::byte byte : bytes) {
        text += digits[std::to_integer<unsigned>(byte) >> 4];
        text += digits[std::to_integer<unsigned>(byte) & 0xf];
    }
    return text;
}

void print_bytes(std::span<const std::byte> bytes)
{
    for (size_t at = 0; at < bytes.size(); at += bytes_a_line)
        printf("  %04zx  %s\n", at,
               hex_of(bytes.subspan(at, std::min(bytes_a_line, bytes.size() - at))).c_str());
}

void print_xen_summary(const xen::XenState& state)
{
    const std::string name =
        json_string(state.config.is_object() ? state.config.value("c_info", Json()) : Json(),
                    "name", "not told");
    printf("xl save file, of Xen %" PRIu32 ".%" PRIu32 ", guest %s\n\n", state.xen_major,
           state.xen_minor, harmless(name).c_str());
    printf("%-32s %12s\n", "memory at", "pages");
    for (const state::FrameRange& range : state.pages.ranges())
        printf("0x%-30" PRIx64 " %12" PRIu64 "\n", range.first * state::frame_size, range.count);
    printf("\n%-32s %8s %10s\n", "hypervisor's record", "instance", "bytes");
    for (const xen::HvmRecord& record : state.hvm.records)
        printf("%-32s %8u %10zu\n", std::string(to_string(record.type)).c_str(),
               static_cast<unsigned>(record.instance), record.bytes.size());
    printf("\n%-32s %8s %8s %10s\n", "device model's section", "instance", "version", "bytes");
    for (const xen::ModelSection& section : state.model)
        printf("%-32s %8" PRIu32 " %8" PRIu32 " %10zu\n", harmless(section.name).c_str(),
               section.instance, section.version, section.bytes.size());
}

/// Records of the hypervisor by their names ("CPU"), and sections of the device model by theirs.
Status print_xen_section(const xen::XenState& state, const std::string& name)
{
    bool found = false;
    for (const xen::HvmRecord& record : state.hvm.records) {
        if (to_string(record.type) != name)
            continue;
        found = true;
        printf("%s\n", xen::name_of(record).c_str());
        print_bytes(record.bytes);
    }
    for (const xen::ModelSection& section : state.model) {
        if (section.name != name)
            continue;
        found = true;
        printf("%s, instance %" PRIu32 ", version %" PRIu32 "\n", harmless(name).c_str(),
               section.instance, section.version);
        print_bytes(section.bytes);
    }
    if (!found)
        return no_such_section(name);
    return {};
}

Json xen_to_json(const xen::XenState& state, const std::string& section)
{
    const auto wanted = [&section](std::string_view name) {
        return section.empty() || name == section;
    };
    Json json = {{"xen", std::to_string(state.xen_major) + "." + std::to_string(state.xen_minor)},
                 {"config", state.config},
                 {"memory", Json::array()},
                 {"records", Json::array()},
                 {"sections", Json::array()}};
    for (const state::FrameRange& range : state.pages.ranges())
        json["memory"].push_back({{"frame", range.first}, {"pages", range.count}});
    for (const xen::HvmRecord& record : state.hvm.records)
        if (wanted(to_string(record.type)))
            json["records"].push_back({{"type", std::string(to_string(record.type))},
                                       {"number", static_cast<unsigned>(record.type)},
                                       {"instance", record.instance},
                                       {"bytes", hex_of(record.bytes)}});
    for (const xen::ModelSection& each : state.model)
        if (wanted(each.name))
            json["sections"].push_back({{"name", each.name},
                                        {"instance", each.instance},
                                        {"version", each.version},
                                        {"bytes", hex_of(each.bytes)}});
    return json;
}

Status print_xen_machine(const xen::XenState& state)
{
    const auto read = xen::read_machine(state);
    if (!read)
        return std::unexpected(read.error());
    print_neutral(read->machine, read->not_carried);
    return {};
}

} // namespace

Status inspect_xen(const InspectOptions& options, const ByteSource& source)
{
    const auto state = xen::read_xen_state(source);
    if (!state)
        return std::unexpected(Error(state.error()).in(options.file));
    if (options.neutral)
        return print_xen_machine(*state);
    if (options.json)
        printf("%s\n", dump_json(xen_to_json(*state, options.section), true).c_str());
    else if (!options.section.empty())
        return print_xen_section(*state, options.section);
    else
        print_xen_summary(*state);
    return {};
}

} // namespace drover::tools
