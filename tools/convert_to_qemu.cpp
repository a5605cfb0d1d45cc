// SPDX-License-Identifier: GPL-2.0-or-later
#include "tools/convert.h"
#include "tools/new_file.h"
#include "vmm/qemu/state/acpi_hole.h"
#include "vmm/qemu/state/blank_machine.h"
#include "vmm/qemu/state/machine_fields.h"
#include "vmm/qemu/state/stream_writer.h"

#include <algorithm>
#include <cinttypes>

namespace drover::tools {

namespace {

using qemu::SavedRam;
using state::FrameRange;

constexpr uint64_t first_xen_frame = 0xfe000; ///< from here on up to 4 GiB: Xen's own, no RAM
constexpr uint64_t four_gib_frame = 0x100000;

/// The memory of a Xen guest that QEMU has at no place of its own.
class HolePages : public qemu::BlockPages {
public:
    explicit HolePages(const state::GuestPages& guest) : guest_(guest) {}
    [[nodiscard]] bool is_zero(uint64_t page) const override
    {
        const uint64_t frame = qemu::acpi_hole_frame + page;
        return std::ranges::none_of(guest_.ranges(), [frame](const FrameRange& range) {
            return frame >= range.first && frame - range.first < range.count;
        });
    }
    [[nodiscard]] Status read(uint64_t page, state::FrameBytes target) const override
    {
        return guest_.read(qemu::acpi_hole_frame + page, target);
    }

private:
    const state::GuestPages& guest_;
};

/// What the new machine's blocks of RAM are to hold.
class RamPlan {
public:
    RamPlan(const SavedGuest& guest, const qemu::QemuState& blank) : guest_(guest), blank_(blank) {}

    Status make() { return guest_.qemu ? take_blocks() : take_frames(); }
    [[nodiscard]] const std::map<std::string, const qemu::BlockPages*>& blocks() const
    {
        return blocks_;
    }

private:
    void put(const std::string& name, std::unique_ptr<qemu::BlockPages> pages)
    {
        blocks_[name] = pages.get();
        pages_.push_back(std::move(pages));
    }

    Status take_blocks()
    {
        for (const SavedRam& block : blank_.ram) {
            const auto own = std::ranges::find(guest_.qemu->ram, block.name, &SavedRam::name);
            if (own != guest_.qemu->ram.end() && own->size == block.size)
                put(block.name, std::make_unique<qemu::SavedBlockPages>(*own, guest_.file));
            else if (!block.name.starts_with("/rom@")) // firmware's tables, which it has read
                return fail(ErrorKind::Incompatible,
                            "the guest has no memory " + block.name + " of that size",
                            "start the destination with the same -m and the same devices");
        }
        return {};
    }

    Status take_frames()
    {
        const auto ram = std::ranges::find(blank_.ram, "pc.ram", &SavedRam::name);
        if (ram == blank_.ram.end())
            return fail(ErrorKind::Incompatible, "a guest of Xen's needs -M pc");
        auto pages =
            std::make_unique<qemu::GuestBlockPages>(*guest_.pages, qemu::PcMemory::of(ram->size));
        const auto outside = pages->outside();
        put("pc.ram", std::move(pages));
        const auto hole = std::ranges::find_if(blank_.ram, qemu::is_acpi_hole, &SavedRam::name);
        if (hole != blank_.ram.end())
            put(hole->name, std::make_unique<HolePages>(*guest_.pages));
        const uint64_t hole_frames = hole != blank_.ram.end() ? hole->size / state::frame_size : 0;
        for (const FrameRange& range : outside)
            if (Status fits = check_outside(range, hole_frames); !fits)
                return fits;
        return {};
    }

    static Status check_outside(const FrameRange& range, uint64_t hole_frames)
    {
        const uint64_t end = range.first + range.count;
        if (range.first >= first_xen_frame && end <= four_gib_frame)
            return {}; // Xen's own pages: its consoles, its rings, its page table
        if (range.first >= qemu::acpi_hole_frame && end <= qemu::acpi_hole_frame + hole_frames)
            return {};
        if (range.first >= qemu::acpi_hole_frame && end <= first_xen_frame)
            return fail(ErrorKind::Incompatible,
                        "the guest has its ACPI tables where QEMU has no memory",
                        std::string("add ") + qemu::acpi_hole_options);
        char text[64];
        snprintf(text, sizeof text, "0x%" PRIx64 " to 0x%" PRIx64, range.first * state::frame_size,
                 end * state::frame_size);
        return fail(ErrorKind::Incompatible,
                    std::string("the guest has memory where the destination has none: ") + text,
                    "give the destination the guest's -m");
    }

    const SavedGuest& guest_;
    const qemu::QemuState& blank_;
    std::vector<std::unique_ptr<qemu::BlockPages>> pages_;
    std::map<std::string, const qemu::BlockPages*> blocks_;
};

Status write_stream(const qemu::StreamPlan& plan, const std::string& path)
{
    NewFile file(path);
    if (Status opened = file.open(); !opened)
        return opened;
    if (Status written = qemu::write_qemu_stream(plan, file.sink()); !written)
        return written;
    return file.finish();
}

} // namespace

Changes convert_to_qemu(const SavedGuest& guest, const std::string& path,
                        const std::vector<std::string>& command)
{
    auto saved = qemu::save_blank_machine(command);
    auto file = saved ? FileBytes::of(std::move(*saved), "QEMU's own") : pass(saved);
    if (!file)
        return pass(file);
    auto blank = qemu::read_qemu_state(*file, qemu::Pages::Located);
    auto layout = blank ? qemu::devices_of(*blank, *file) : pass(blank);
    if (!layout)
        return pass(layout);
    std::optional<state::Device> hole;
    if (guest.xen) {
        auto taken = qemu::take_acpi_hole(*layout);
        if (!taken)
            return pass(taken);
        hole = std::move(*taken);
    }
    auto written = qemu::write_machine(guest.machine, std::move(*layout));
    if (!written)
        return pass(written);
    if (hole)
        written->sections.push_back(std::move(*hole));
    RamPlan ram(guest, *blank);
    if (Status made = ram.make(); !made)
        return pass(made);
    if (Status done = write_stream({*blank, *file, written->sections, ram.blocks()}, path); !done)
        return pass(done);
    return std::move(written->changes);
}

} // namespace drover::tools
