// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/state/neutral_stream.h"

#include "vmm/qemu/state/acpi_hole.h"
#include "vmm/qemu/state/machine_fields.h"
#include "vmm/qemu/state/stream_writer.h"

#include <algorithm>

namespace drover::qemu {

namespace {

using state::frame_size;

/// Memory as it came, for a block of the same size.
class MemoryPages : public BlockPages {
public:
    explicit MemoryPages(const state::Memory& memory) : memory_(memory) {}
    [[nodiscard]] bool is_zero(uint64_t page) const override { return !find(page); }
    [[nodiscard]] Status read(uint64_t page, state::FrameBytes target) const override
    {
        const auto place = find(page);
        if (!place) {
            std::ranges::fill(target, std::byte{0});
            return {};
        }
        const auto bytes = std::as_bytes(std::span(memory_.bytes));
        std::ranges::copy(bytes.subspan(*place * frame_size, frame_size), target.begin());
        return {};
    }

private:
    [[nodiscard]] std::optional<size_t> find(uint64_t page) const
    {
        const auto found = std::ranges::lower_bound(memory_.pages, page);
        if (found == memory_.pages.end() || *found != page)
            return std::nullopt;
        return static_cast<size_t>(found - memory_.pages.begin());
    }
    const state::Memory& memory_;
};

Result<state::Memory> memory_of(const SavedRam& block, const ByteSource& source)
{
    state::Memory memory = {.name = block.name, .size = block.size, .pages = {}, .bytes = {}};
    const SavedBlockPages pages(block, source);
    for (uint64_t page = 0; page < block.places.size(); ++page)
        if (!pages.is_zero(page))
            memory.pages.push_back(page);
    memory.bytes.resize(memory.pages.size() * frame_size);
    auto rest = std::as_writable_bytes(std::span(memory.bytes));
    for (const uint64_t page : memory.pages) {
        if (const Status read = pages.read(page, rest.first<frame_size>()); !read)
            return std::unexpected(read.error());
        rest = rest.subspan(frame_size);
    }
    return memory;
}

/// The machine that waits has the device that gives Xen's tables a place, and the guest, which
/// comes from Xen, has not seen it: the device is put to its place, and the guest is translated
/// without.
Result<std::optional<state::Device>> take_unseen_hole(const state::MachineState& machine,
                                                      std::vector<state::Device>& layout)
{
    const auto is_hole = [](const state::Device& device) {
        return device.name.ends_with("/ivshmem-plain");
    };
    if (std::ranges::any_of(machine.devices, is_hole))
        return std::nullopt;
    return take_acpi_hole(layout);
}

bool is_firmware(std::string_view block)
{
    return block.starts_with("/rom@") || block.ends_with(".rom") || block.ends_with(".bios");
}

Status check_memory(const state::MachineState& machine)
{
    for (const state::Memory& memory : machine.memory)
        if (memory.bytes.size() != memory.pages.size() * frame_size ||
            !std::ranges::is_sorted(memory.pages))
            return fail(ErrorKind::Protocol, "the memory " + memory.name + " has not its form");
    return {};
}

} // namespace

Result<std::vector<std::byte>> neutral_of_stream(const ByteSource& stream)
{
    const auto state = read_qemu_state(stream, Pages::Located);
    if (!state)
        return std::unexpected(state.error());
    const auto sections = devices_of(*state, stream);
    if (!sections)
        return std::unexpected(sections.error());
    auto read = read_machine(*sections);
    if (!read)
        return std::unexpected(read.error());
    if (const Status known = check_known(read->not_carried); !known)
        return std::unexpected(known.error());
    for (const SavedRam& block : state->ram) {
        if (block.raw + block.zero == 0)
            continue; // shared: the guest's RAM
        auto memory = memory_of(block, stream);
        if (!memory)
            return std::unexpected(memory.error());
        read->machine.memory.push_back(std::move(*memory));
    }
    return state::encode_machine(read->machine);
}

Result<LoadForm> read_load_form(const ByteSource& blank)
{
    LoadForm form;
    form.bytes.resize(blank.size());
    if (const Status read = blank.read(0, form.bytes); !read)
        return std::unexpected(read.error());
    const MemoryBytes bytes(form.bytes);
    auto state = read_qemu_state(bytes, Pages::Located);
    auto sections = state ? devices_of(*state, bytes) : pass(state);
    if (!sections)
        return std::unexpected(sections.error());
    form.state = std::move(*state);
    form.state.sections.clear(); // whose names are in `blank`
    form.state.layout.reset();
    form.sections = std::move(*sections);
    return form;
}

Result<std::vector<std::byte>> stream_of_neutral(std::span<const std::byte> parts, LoadForm&& form,
                                                 std::vector<std::string>& changes)
{
    const auto machine = state::decode_machine(parts);
    if (!machine)
        return std::unexpected(machine.error());
    if (const Status good = check_memory(*machine); !good)
        return std::unexpected(good.error());
    auto sections = std::move(form.sections);
    auto hole = take_unseen_hole(*machine, sections);
    if (!hole)
        return std::unexpected(hole.error());
    auto written = write_machine(*machine, std::move(sections));
    if (!written)
        return std::unexpected(written.error());
    if (*hole)
        written->sections.push_back(std::move(**hole));
    changes.insert(changes.end(), written->changes.begin(), written->changes.end());
    const MemoryBytes blank(form.bytes);
    StreamPlan plan{form.state, blank, written->sections, {}, false};
    std::vector<MemoryPages> pages;
    pages.reserve(machine->memory.size());
    for (const state::Memory& memory : machine->memory) {
        const auto here = std::ranges::find_if(form.state.ram, [&](const SavedRam& block) {
            return block.name == memory.name || block.name.ends_with("/" + memory.name);
        });
        const bool fits = here != form.state.ram.end() && here->size == memory.size;
        if (!fits && is_firmware(memory.name))
            continue; // of another build: the guest has what it needs of it in its RAM
        if (!fits)
            return fail(ErrorKind::Incompatible,
                        "the guest's memory " + memory.name + " has no place of its size there",
                        "start the destination with the devices that the guest has");
        pages.emplace_back(memory);
        plan.ram[here->name] = &pages.back();
    }
    ByteSink sink(form.bytes.size() + parts.size());
    if (const Status done = write_qemu_stream(plan, sink); !done)
        return std::unexpected(done.error());
    return sink.take();
}

} // namespace drover::qemu
