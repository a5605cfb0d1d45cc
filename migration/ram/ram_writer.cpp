// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/ram/ram_writer.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <fcntl.h>
#include <sys/mman.h>

namespace drover {

namespace {

uint64_t mapped_size(const RamBlock& block)
{
    return (block.size + block.backing_page - 1) / block.backing_page * block.backing_page;
}

} // namespace

RamWriter::RamWriter(std::span<const RamBlock> ram, std::unique_ptr<RamMapping> mapping)
    : ram_(ram), mapping_(std::move(mapping)), blocks_(std::make_unique<Block[]>(ram.size()))
{
    for (size_t i = 0; i < ram_.size(); ++i) {
        const auto held = held_pages(ram_[i]);
        blocks_[i].was_empty = held && *held == 0;
        blocks_[i].keeps_memory =
            ram_[i].backing_page != ram_page_size || (held && *held >= ram_[i].pages());
        blocks_[i].counts = can_count_held_pages(ram_[i]);
        if (ram_[i].backing_page == ram_page_size)
            continue;
        void* map = mmap(nullptr, mapped_size(ram_[i]), PROT_READ | PROT_WRITE, MAP_SHARED,
                         ram_[i].file.get(), 0);
        blocks_[i].map = map == MAP_FAILED ? nullptr : static_cast<std::byte*>(map);
    }
}

RamWriter::~RamWriter()
{
    for (size_t i = 0; i < ram_.size(); ++i)
        if (blocks_[i].map)
            munmap(blocks_[i].map, mapped_size(ram_[i]));
}

Status RamWriter::empty(size_t index, uint64_t offset, uint64_t length)
{
    Block& block = blocks_[index];
    if (block.was_empty || (mapping_ && mapping_->is_new()))
        return {};
    if (block.counts && count_held_pages(ram_[index], offset / ram_page_size,
                                         (offset + length) / ram_page_size) == 0U)
        return {};
    return block.keeps_memory ? clear(index, offset, length)
                              : discard_ram(ram_[index], offset, length);
}

/// Reads before it writes: what was allocated and never used is zero already, and holes of a file
/// of huge pages must not be filled.
Status RamWriter::clear(size_t index, uint64_t offset, uint64_t length)
{
    constexpr uint64_t most = 64 * ram_page_size;
    static const std::array<std::byte, ram_page_size> zeros{};
    const auto buffer = std::make_unique_for_overwrite<std::byte[]>(most);
    for (const uint64_t end = offset + length; offset < end;) {
        const uint64_t size = std::min(most, end - offset);
        if (Status read = read_ram(ram_[index], offset, {buffer.get(), size}); !read)
            return read;
        for (uint64_t at = 0; at < size; at += ram_page_size)
            if (!is_zero_page(buffer.get() + at))
                if (Status written = write(index, offset + at, zeros); !written)
                    return written;
        offset += size;
    }
    return {};
}

Status RamWriter::write(size_t index, uint64_t offset, std::span<const std::byte> from)
{
    const size_t done = mapping_ ? mapping_->write(index, offset, from) : 0;
    // What the mapping could not do, the file does, or says why not.
    return done == from.size() ? Status() : write_file(index, offset + done, from.subspan(done));
}

Status RamWriter::write_file(size_t index, uint64_t offset, std::span<const std::byte> from)
{
    if (blocks_[index].map)
        return write_mapped(index, offset, from);
    const std::lock_guard lock(blocks_[index].writing);
    return write_ram(ram_[index], offset, from);
}

/// Allocated first: so "no huge page left" is an error and not a SIGBUS.
Status RamWriter::write_mapped(size_t index, uint64_t offset, std::span<const std::byte> from)
{
    if (Status there = allocate_ram(ram_[index], offset, from.size()); !there)
        return there;
    memcpy(blocks_[index].map + offset, from.data(), from.size());
    return {};
}

Status RamWriter::discard(size_t index, uint64_t offset, uint64_t length)
{
    if (mapping_ && mapping_->discard(index, offset, length))
        return {};
    return blocks_[index].keeps_memory ? clear(index, offset, length)
                                       : discard_ram(ram_[index], offset, length);
}

} // namespace drover
