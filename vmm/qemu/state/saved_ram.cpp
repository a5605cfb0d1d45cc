// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/state/saved_ram.h"

#include "vmm/qemu/state/stream_marks.h"

#include <algorithm>

namespace drover::qemu {

namespace {

constexpr uint64_t page_flags = 0xfff; // pages are 4 KiB at least
constexpr size_t most_saved_blocks = 4096;
constexpr uint64_t smallest_page = 9; // bytes in the stream, of one that holds zeroes
constexpr uint64_t most_unsent_pages = 4096;

} // namespace

bool QemuState::ignores_shared() const
{
    return std::ranges::find(capabilities, "x-ignore-shared") != capabilities.end();
}

Status SavedRamReader::read_part(ByteCursor& cursor, QemuState& state)
{
    while (cursor.status()) {
        const uint64_t head = cursor.integer(8);
        const uint64_t flags = head & page_flags;
        if (flags == PageFlag::PartEnd)
            break;
        if (flags == PageFlag::ChannelFlush)
            continue; // its pages went over other channels
        const Status done = flags == PageFlag::Blocks
                                ? read_blocks(cursor, state, head & ~page_flags)
                                : read_page(cursor, state, head);
        if (!done)
            return std::unexpected(Error(done.error()).in("ram"));
    }
    return cursor.status();
}

/// Their sizes, until they make up `total`.
Status SavedRamReader::read_blocks(ByteCursor& cursor, QemuState& state, uint64_t total)
{
    while (total > 0) {
        std::string name = cursor.short_text();
        const uint64_t size = cursor.integer(8);
        if (!cursor.status())
            return cursor.status();
        if (size == 0 || size > total || state.ram.size() >= most_saved_blocks)
            return fail(ErrorKind::Protocol, "the block " + name + " has no possible size");
        total -= size;
        state.ram.emplace_back();
        state.ram.back().name = std::move(name);
        state.ram.back().size = size;
        if (state.ignores_shared())
            state.ram.back().address = cursor.integer(8);
    }
    return {};
}

/// The cursor is where the page's contents begin.
Status SavedRamReader::note_page(const ByteCursor& cursor, const QemuState& state, uint64_t offset,
                                 uint64_t kind, SavedRam& ram) const
{
    if (pages_ == Pages::Counted)
        return {};
    const bool is_zero = kind == PageFlag::Zero && cursor.peek() == 0;
    if (kind != PageFlag::Raw && !is_zero)
        return fail(ErrorKind::Refused, "it has pages that were sent as differences: not read here",
                    "save the guest without xbzrle");
    const uint64_t page = offset / state.page_size;
    if (offset >= ram.size || offset % state.page_size != 0)
        return fail(ErrorKind::Protocol, "a page beyond the end of " + ram.name);
    // Each page is in the file, so that a block that is larger than the file is none.
    if (ram.places.size() <= page) {
        if (page > most_unsent_pages + cursor.at() / smallest_page)
            return fail(ErrorKind::Protocol, ram.name + " is larger than what is in the file");
        ram.places.resize(page + 1);
    }
    ram.places[page] = is_zero ? 0 : cursor.at();
    return {};
}

Status SavedRamReader::read_page(ByteCursor& cursor, QemuState& state, uint64_t head)
{
    if (!cursor.status())
        return cursor.status();
    const uint64_t flags = head & page_flags;
    if ((flags & (PageFlag::Compressed | PageFlag::Hook)) != 0)
        return fail(ErrorKind::Refused, "its pages are compressed or went by RDMA: not read here");
    const uint64_t begin = cursor.at();
    if ((flags & PageFlag::SameBlock) == 0)
        block_ = cursor.short_text();
    const auto ram = std::ranges::find(state.ram, block_, &SavedRam::name);
    if (ram == state.ram.end())
        return fail(ErrorKind::Protocol, "a page of a block that was not told: " + block_);
    const uint64_t kind = flags & ~uint64_t{PageFlag::SameBlock};
    if (const Status noted = note_page(cursor, state, head & ~page_flags, kind, *ram); !noted)
        return noted;
    switch (kind) {
    case PageFlag::Zero:
        ++ram->zero;
        cursor.skip(1);
        break;
    case PageFlag::Raw:
        ++ram->raw;
        cursor.skip(state.page_size);
        break;
    case PageFlag::Delta:
        ++ram->delta;
        cursor.skip(1); // how it is encoded
        cursor.skip(cursor.integer(2));
        break;
    default:
        return fail(ErrorKind::Protocol, "a page of no known kind (" + std::to_string(flags) +
                                             ") at byte " + std::to_string(begin - 8));
    }
    ram->bytes += 8 + cursor.at() - begin;
    return {};
}

} // namespace drover::qemu
