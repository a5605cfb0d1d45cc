// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/xen/state/page_index.h"

#include <iterator>

namespace drover::xen {

/// Afterwards no run crosses from before `frame` to it.
void PageIndex::cut(uint64_t frame)
{
    const auto next = runs_.lower_bound(frame);
    if (next == runs_.begin())
        return;
    auto& [first, run] = *std::prev(next);
    if (first + run.count <= frame)
        return;
    const uint64_t before = frame - first;
    Run rest{.count = run.count - before, .at = run.at};
    if (rest.at)
        *rest.at += before * state::frame_size;
    run.count = before;
    runs_.emplace_hint(next, frame, rest);
}

void PageIndex::remove(uint64_t first, uint64_t count)
{
    cut(first);
    cut(first + count);
    runs_.erase(runs_.lower_bound(first), runs_.lower_bound(first + count));
}

void PageIndex::put_run(uint64_t first, const Run& run)
{
    const auto next = runs_.lower_bound(first);
    if (next != runs_.begin()) {
        auto& [before, last] = *std::prev(next);
        const bool goes_on =
            last.at ? run.at == *last.at + last.count * state::frame_size : !run.at.has_value();
        if (before + last.count == first && goes_on) {
            last.count += run.count;
            return;
        }
    }
    runs_.emplace_hint(next, first, run);
}

void PageIndex::put(uint64_t first, uint64_t count, uint64_t at)
{
    remove(first, count);
    put_run(first, {.count = count, .at = at});
}

void PageIndex::put_empty(uint64_t first, uint64_t count)
{
    for (uint64_t frame = first; frame < first + count; ++frame)
        if (!has(frame))
            put_run(frame, {.count = 1, .at = std::nullopt});
}

PageIndex::Runs::const_iterator PageIndex::run_of(uint64_t frame) const
{
    const auto next = runs_.upper_bound(frame);
    if (next == runs_.begin())
        return runs_.end();
    const auto found = std::prev(next);
    return frame - found->first < found->second.count ? found : runs_.end();
}

bool PageIndex::has(uint64_t frame) const
{
    return run_of(frame) != runs_.end();
}

std::optional<uint64_t> PageIndex::find(uint64_t frame) const
{
    const auto run = run_of(frame);
    if (run == runs_.end() || !run->second.at)
        return std::nullopt;
    return *run->second.at + (frame - run->first) * state::frame_size;
}

std::vector<state::FrameRange> PageIndex::ranges() const
{
    std::vector<state::FrameRange> ranges;
    for (const auto& [first, run] : runs_) {
        if (!ranges.empty() && ranges.back().first + ranges.back().count == first)
            ranges.back().count += run.count;
        else
            ranges.push_back({.first = first, .count = run.count});
    }
    return ranges;
}

uint64_t PageIndex::count() const
{
    uint64_t count = 0;
    for (const auto& [first, run] : runs_)
        count += run.count;
    return count;
}

} // namespace drover::xen
