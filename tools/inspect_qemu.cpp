// SPDX-License-Identifier: GPL-2.0-or-later
#include "tools/inspect.h"
#include "vmm/qemu/state/machine_fields.h"

#include <cinttypes>
#include <cstdio>

namespace drover::tools {

namespace {

void print_ram(const qemu::QemuState& state)
{
    printf("%-32s %12s %12s %12s %12s %14s\n", "RAM", "KiB", "raw pages", "zero pages", "deltas",
           "bytes here");
    for (const qemu::SavedRam& ram : state.ram)
        printf("%-32s %12" PRIu64 " %12" PRIu64 " %12" PRIu64 " %12" PRIu64 " %14" PRIu64 "\n",
               harmless(ram.name).c_str(), ram.size >> 10, ram.raw, ram.zero, ram.delta, ram.bytes);
}

void print_summary(const qemu::QemuState& state)
{
    printf("QEMU migration stream, machine %s\n",
           state.machine.empty() ? "not told" : harmless(state.machine).c_str());
    for (const std::string& capability : state.capabilities)
        printf("with capability %s\n", harmless(capability).c_str());
    printf("\n");
    print_ram(state);
    printf("\n%-32s %8s %8s %10s %12s\n", "section", "instance", "version", "bytes", "at");
    for (const qemu::SavedSection& section : state.sections)
        printf("%-32s %8" PRIu64 " %8" PRIu64 " %10" PRIu64 " %12" PRIu64 "\n",
               harmless(section.name).c_str(), section.instance, section.version,
               section.state.size, section.state.at);
}

Status print_field(const qemu::StateField& field, const ByteSource& source, int depth)
{
    printf("%*s%s", 2 * depth, "", harmless(field.name()).c_str());
    if (field.members.empty()) {
        const auto value = qemu::value_of(field, source);
        if (!value)
            return std::unexpected(value.error());
        const std::string text = value->is_string() ? value->get<std::string>() : dump_json(*value);
        printf(" = %s (%s)\n", harmless(text).c_str(), harmless(std::string(field.type)).c_str());
        return {};
    }
    printf("\n");
    for (const qemu::StateField& member : field.members)
        if (const Status done = print_field(member, source, depth + 1); !done)
            return done;
    return {};
}

Status print_sections(const qemu::QemuState& state, const ByteSource& source,
                      const std::string& name)
{
    bool found = false;
    for (const qemu::SavedSection& section : state.sections) {
        if (section.name != name)
            continue;
        found = true;
        printf("%s, instance %" PRIu64 ", version %" PRIu64 "\n", harmless(name).c_str(),
               section.instance, section.version);
        for (const qemu::StateField& field : section.state.members)
            if (const Status done = print_field(field, source, 1); !done)
                return done;
    }
    if (!found)
        return no_such_section(name);
    return {};
}

Status print_qemu_machine(const qemu::QemuState& state, const ByteSource& source)
{
    const auto sections = qemu::devices_of(state, source);
    if (!sections)
        return std::unexpected(sections.error());
    const auto read = qemu::read_machine(*sections);
    if (!read)
        return std::unexpected(read.error());
    print_neutral(read->machine, read->not_carried);
    return {};
}

} // namespace

Status inspect_qemu(const InspectOptions& options, const ByteSource& source)
{
    const auto state = qemu::read_qemu_state(source);
    if (!state)
        return std::unexpected(Error(state.error()).in(options.file));
    if (options.neutral)
        return print_qemu_machine(*state, source);
    if (options.json) {
        const auto json = qemu::to_json(*state, source, options.section);
        if (!json)
            return std::unexpected(json.error());
        printf("%s\n", dump_json(*json, true).c_str());
        return {};
    }
    if (!options.section.empty())
        return print_sections(*state, source, options.section);
    print_summary(*state);
    return {};
}

} // namespace drover::tools
