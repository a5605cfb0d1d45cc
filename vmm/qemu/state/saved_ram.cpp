// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/state/saved_ram.h"

#include <algorithm>

namespace drover::qemu {

namespace {

/// In the bits of an address below the page's size.
struct PageFlag {
    enum : uint64_t {
        Zero = 0x02, ///< one byte follows, of which the page is full
        Blocks = 0x04,
        Raw = 0x08,
        PartEnd = 0x10,
        SameBlock = 0x20,
        Delta = 0x40,
        Hook = 0x80,
        Compressed = 0x100,
        ChannelFlush = 0x200,
    };
};

constexpr uint64_t page_flags = 0xfff; // pages are 4 KiB at least
constexpr size_t most_saved_blocks = 4096;

bool has_capability(const QemuState& state, std::string_view name)
{
    return std::ranges::find(state.capabilities, name) != state.capabilities.end();
}

} // namespace

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
                                : read_page(cursor, state, flags);
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
        state.ram.push_back({.name = std::move(name), .size = size});
        // With the capability each block tells its address, too.
        if (has_capability(state, "x-ignore-shared"))
            cursor.skip(8);
    }
    return {};
}

Status SavedRamReader::read_page(ByteCursor& cursor, QemuState& state, uint64_t flags)
{
    if (!cursor.status())
        return cursor.status();
    if ((flags & (PageFlag::Compressed | PageFlag::Hook)) != 0)
        return fail(ErrorKind::Refused, "its pages are compressed or went by RDMA: not read here");
    const uint64_t begin = cursor.at();
    if ((flags & PageFlag::SameBlock) == 0)
        block_ = cursor.short_text();
    const auto ram = std::ranges::find(state.ram, block_, &SavedRam::name);
    if (ram == state.ram.end())
        return fail(ErrorKind::Protocol, "a page of a block that was not told: " + block_);
    switch (flags & ~uint64_t{PageFlag::SameBlock}) {
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
