// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/state/pc_memory.h"

#include <algorithm>

namespace drover::qemu {

namespace {

using state::frame_size;

constexpr uint64_t most_when_cut = 3ULL << 30;
constexpr uint64_t high_frame = four_gib / frame_size;
constexpr uint64_t vga_first = 0xa0; // frames
constexpr uint64_t vga_end = 0xc0;

} // namespace

PcMemory PcMemory::of(uint64_t size, uint64_t limit)
{
    return {.size = size, .low = size < limit ? size : std::min(limit, most_when_cut)};
}

PcMemory PcMemory::beside_hole(uint64_t size, uint64_t hole)
{
    return {.size = size, .low = std::min(size, four_gib - std::min(hole, four_gib))};
}

std::vector<state::FrameRange> PcMemory::ranges() const
{
    std::vector<state::FrameRange> ranges = {{0, std::min(vga_first, low / frame_size)}};
    if (low / frame_size > vga_end)
        ranges.push_back({vga_end, low / frame_size - vga_end});
    if (size > low)
        ranges.push_back({high_frame, (size - low) / frame_size});
    return ranges;
}

uint64_t PcMemory::page_of(uint64_t frame) const
{
    return frame < high_frame ? frame : frame - high_frame + low / frame_size;
}

uint64_t PcMemory::frame_of(uint64_t page) const
{
    return page < low / frame_size ? page : page - low / frame_size + high_frame;
}

uint64_t PcMemory::pages_in_a_row(uint64_t page) const
{
    return (page < low / frame_size ? low : size) / frame_size - page;
}

uint64_t PcMemory::end_frame() const
{
    return size > low ? frame_of(size / frame_size - 1) + 1 : low / frame_size;
}

} // namespace drover::qemu
