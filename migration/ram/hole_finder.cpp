// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/ram/hole_finder.h"

namespace drover {

HoleFinder::HoleFinder(std::span<const RamBlock> ram)
    : ram_(ram), blocks_(std::make_unique<Block[]>(ram.size()))
{
    for (size_t i = 0; i < ram_.size(); ++i) {
        blocks_[i].data = PageBitmap(ram_[i].pages());
        blocks_[i].counts = can_count_held_pages(ram_[i]);
    }
}

Result<int64_t> HoleFinder::unexplained(size_t block) const
{
    auto used = held_pages(ram_[block]);
    if (!used)
        return pass(used);
    return static_cast<int64_t>(*used) - static_cast<int64_t>(blocks_[block].data.count());
}

Status HoleFinder::walk(size_t index, const std::function<void(uint64_t, uint64_t)>& visit)
{
    Block& block = blocks_[index];
    block.data.clear_range(0, block.data.size());
    return for_each_data(ram_[index], 0, ram_[index].pages(), [&](uint64_t first, uint64_t count) {
        block.data.set_range(first, count);
        visit(first, count);
    });
}

Status HoleFinder::first_look(size_t index, const std::function<void(uint64_t, uint64_t)>& visit)
{
    if (Status walked = walk(index, visit); !walked)
        return walked;
    auto now = unexplained(index);
    if (!now)
        return pass(now);
    blocks_[index].unexplained = *now;
    return {};
}

Result<bool> HoleFinder::has_changed(size_t index)
{
    Block& block = blocks_[index];
    auto now = unexplained(index);
    if (!now)
        return pass(now);
    // A look that did not come to its end (the guest was paused meanwhile) explains nothing.
    const bool all_seen = !block.looking || block.looked_at >= ram_[index].pages();
    if (all_seen && *now == block.unexplained - block.found)
        return false;
    block.unexplained = *now;
    block.found = 0;
    block.looked_at = 0;
    block.looking = true;
    if (block.counts)
        return true;
    const auto before = static_cast<int64_t>(block.data.count());
    if (Status walked = walk(index, [](uint64_t, uint64_t) {}); !walked)
        return pass(walked);
    block.found = static_cast<int64_t>(block.data.count()) - before;
    block.looked_at = ram_[index].pages();
    return true;
}

void HoleFinder::look(size_t index, uint64_t first, uint64_t end)
{
    Block& block = blocks_[index];
    if (!block.counts)
        return; // has_changed() has walked it
    const uint64_t known = block.data.count(first, end);
    if (count_held_pages(ram_[index], first, end) != known) {
        search(index, first, end);
        block.found +=
            static_cast<int64_t>(block.data.count(first, end)) - static_cast<int64_t>(known);
    }
    block.looked_at += end - first;
}

/// Halves the range until it is all data, or all hole.
void HoleFinder::search(size_t index, uint64_t first, uint64_t end)
{
    PageBitmap& data = blocks_[index].data;
    const uint64_t size = end - first;
    const uint64_t held = count_held_pages(ram_[index], first, end).value_or(size);
    if (held >= size)
        return data.set_range(first, size);
    if (held == 0)
        return data.clear_range(first, size);
    search(index, first, first + size / 2);
    search(index, first + size / 2, end);
}

} // namespace drover
