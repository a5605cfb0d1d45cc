// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/state/block_pages.h"

#include "vmm/qemu/state/acpi_hole.h"

#include <algorithm>

namespace drover::qemu {

namespace {

using state::frame_size;
using state::FrameRange;

} // namespace

bool SavedBlockPages::is_zero(uint64_t page) const
{
    return page >= ram_.places.size() || ram_.places[page] == 0;
}

Status SavedBlockPages::read(uint64_t page, state::FrameBytes target) const
{
    if (!is_zero(page))
        return source_.read(ram_.places[page], target);
    std::ranges::fill(target, std::byte{0});
    return {};
}

GuestBlockPages::GuestBlockPages(const state::GuestPages& guest, PcMemory memory)
    : guest_(guest), memory_(memory)
{
}

bool GuestBlockPages::has(uint64_t frame) const
{
    const auto& ranges = guest_.ranges();
    const auto after = std::ranges::upper_bound(ranges, frame, {}, &FrameRange::first);
    return after != ranges.begin() && frame - std::prev(after)->first < std::prev(after)->count;
}

bool GuestBlockPages::is_zero(uint64_t page) const
{
    const uint64_t frame = memory_.frame_of(page);
    return !has(frame) || guest_.is_zero(frame);
}

Status GuestBlockPages::read(uint64_t page, state::FrameBytes target) const
{
    const uint64_t frame = memory_.frame_of(page);
    if (has(frame))
        return guest_.read(frame, target);
    std::ranges::fill(target, std::byte{0});
    return {};
}

std::vector<FrameRange> GuestBlockPages::outside() const
{
    const uint64_t low_end = memory_.low / frame_size;
    const uint64_t high = four_gib / frame_size;
    const uint64_t high_end = high + (memory_.size - memory_.low) / frame_size;
    std::vector<FrameRange> outside;
    const auto add = [&outside](uint64_t first, uint64_t end) {
        if (first < end)
            outside.push_back({first, end - first});
    };
    for (const FrameRange& range : guest_.ranges()) {
        const uint64_t end = range.first + range.count;
        add(std::max(range.first, low_end), std::min(end, high));
        add(std::max(range.first, high_end), end);
    }
    return outside;
}

QemuGuestPages::QemuGuestPages(const SavedRam& pc_ram, const SavedRam* hole,
                               const ByteSource& source)
    : pages_(pc_ram, source), memory_(PcMemory::of(pc_ram.size)), ranges_(memory_.ranges())
{
    if (hole == nullptr)
        return;
    hole_.emplace(*hole, source);
    hole_end_ = acpi_hole_frame + hole->size / frame_size;
    // What holds nothing there is no memory of the guest's.
    const auto after = std::ranges::upper_bound(ranges_, acpi_hole_frame, {}, &FrameRange::first);
    std::vector<FrameRange> used;
    for (uint64_t frame = acpi_hole_frame; frame < hole_end_; ++frame)
        if (!hole_->is_zero(frame - acpi_hole_frame))
            used.push_back({frame, 1});
    ranges_.insert(after, used.begin(), used.end());
}

Status QemuGuestPages::read(uint64_t frame, state::FrameBytes target) const
{
    if (hole_ && frame >= acpi_hole_frame && frame < hole_end_)
        return hole_->read(frame - acpi_hole_frame, target);
    return pages_.read(memory_.page_of(frame), target);
}

bool QemuGuestPages::is_zero(uint64_t frame) const
{
    if (hole_ && frame >= acpi_hole_frame && frame < hole_end_)
        return hole_->is_zero(frame - acpi_hole_frame);
    return pages_.is_zero(memory_.page_of(frame));
}

} // namespace drover::qemu
