// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/xen/live/mapped_ram.h"

#include "migration/ram/ram_block.h"
#include "util/log.h"
#include "vmm/xen/state/xen_save.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace drover::xen {

namespace {

constexpr uint64_t piece_frames = 512; // a page table's

} // namespace

MappedRam::MappedRam(std::shared_ptr<const XenDomain> domain, const qemu::PcMemory& layout)
    : domain_(std::move(domain)), layout_(layout),
      pieces_((layout.end_frame() + piece_frames - 1) / piece_frames)
{
}

MappedRam::~MappedRam()
{
    close();
}

void MappedRam::close()
{
    const std::lock_guard lock(closing_);
    closed_ = true;
    for (Piece& piece : pieces_)
        if (std::byte* map = std::exchange(piece.map, nullptr))
            domain_->unmap(map, piece.there.size());
}

const MappedRam::Piece& MappedRam::piece_of(uint64_t frame)
{
    const uint64_t index = frame / piece_frames;
    Piece& piece = pieces_[index];
    std::call_once(piece.once, [&] {
        std::array<bool, piece_frames> there{};
        const uint64_t first = index * piece_frames;
        const size_t count = std::min(layout_.end_frame() - first, piece_frames);
        auto map = domain_->map(first, std::span(there).first(count));
        if (!map)
            return log::error(map.error().text());
        piece.map = *map;
        piece.there.assign(there.begin(), there.begin() + static_cast<ptrdiff_t>(count));
    });
    return piece;
}

bool MappedRam::write_page(uint64_t frame, const std::byte* from)
{
    if (is_xens_own(frame))
        return true; // what is there for QEMU, nobody can reach here
    const Piece& piece = piece_of(frame);
    const size_t at = frame % piece_frames;
    if (!piece.map || piece.there[at] == 0)
        return false;
    std::byte* to = piece.map + at * ram_page_size;
    if (from)
        memcpy(to, from, ram_page_size);
    else
        memset(to, 0, ram_page_size);
    return true;
}

size_t MappedRam::write(size_t /*block*/, uint64_t offset, std::span<const std::byte> from)
{
    const std::shared_lock lock(closing_);
    for (size_t at = 0; at < from.size(); at += ram_page_size)
        if (closed_ ||
            !write_page(layout_.frame_of((offset + at) / ram_page_size), from.data() + at))
            return at;
    return from.size();
}

bool MappedRam::discard(size_t /*block*/, uint64_t offset, uint64_t length)
{
    const std::shared_lock lock(closing_);
    for (uint64_t at = 0; at < length; at += ram_page_size)
        if (closed_ || !write_page(layout_.frame_of((offset + at) / ram_page_size), nullptr))
            return false;
    return true;
}

} // namespace drover::xen
