// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/ram/ram_block.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

namespace drover {

namespace {

// cachestat(2), Linux 6.5; not yet in the headers that we are built with.
constexpr long sys_cachestat = 451;
struct CachestatRange {
    uint64_t offset;
    uint64_t length;
};
struct Cachestat {
    uint64_t in_memory;
    uint64_t dirty;
    uint64_t under_writeback;
    uint64_t evicted;
    uint64_t recently_evicted;
};

std::string where(const RamBlock& block, uint64_t offset)
{
    char text[64];
    snprintf(text, sizeof text, " at 0x%llx", static_cast<unsigned long long>(offset));
    return "RAM block " + block.name + text;
}

std::unexpected<Error> write_failure(const RamBlock& block, uint64_t offset, int error)
{
    if (error == ENOSPC || error == ENOMEM)
        return fail(ErrorKind::System,
                    "the memory behind " + where(block, offset) + " is full: " + strerror(error),
                    "free memory on the destination host, or enlarge the file system that "
                    "-mem-path names");
    return fail_errno("writing " + where(block, offset), error);
}

/// hugetlbfs has no write(2): such a block is written through a short-lived mapping. Who writes
/// much has a RamWriter.
Status write_mapped(const RamBlock& block, uint64_t offset, std::span<const std::byte> from)
{
    const uint64_t start = offset / block.backing_page * block.backing_page;
    const uint64_t end =
        (offset + from.size() + block.backing_page - 1) / block.backing_page * block.backing_page;
    // Allocating first turns "no huge page left" into an error instead of a SIGBUS.
    if (Status there = allocate_ram(block, offset, from.size()); !there)
        return there;
    void* map = mmap(nullptr, end - start, PROT_READ | PROT_WRITE, MAP_SHARED, block.file.get(),
                     static_cast<off_t>(start));
    if (map == MAP_FAILED)
        return write_failure(block, offset, errno);
    memcpy(static_cast<std::byte*>(map) + (offset - start), from.data(), from.size());
    munmap(map, end - start);
    return {};
}

Status write_zeros(const RamBlock& block, uint64_t offset, uint64_t length)
{
    static const std::byte zeros[ram_page_size]{};
    for (uint64_t done = 0; done < length;) {
        const uint64_t piece = std::min<uint64_t>(length - done, sizeof zeros);
        if (Status status = write_ram(block, offset + done, {zeros, piece}); !status)
            return status;
        done += piece;
    }
    return {};
}

} // namespace

Status read_ram(const RamBlock& block, uint64_t offset, std::span<std::byte> into)
{
    if (block.reader)
        return block.reader->read(offset, into);
    size_t done = 0;
    while (done < into.size()) {
        const ssize_t n = pread(block.file.get(), into.data() + done, into.size() - done,
                                static_cast<off_t>(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail_errno("reading " + where(block, offset), errno);
        if (n == 0)
            return fail(ErrorKind::Machine,
                        where(block, offset) + " lies past the end of its file");
        done += static_cast<size_t>(n);
    }
    return {};
}

Status write_ram(const RamBlock& block, uint64_t offset, std::span<const std::byte> from)
{
    if (block.backing_page != ram_page_size)
        return write_mapped(block, offset, from);
    size_t done = 0;
    while (done < from.size()) {
        const ssize_t n = pwrite(block.file.get(), from.data() + done, from.size() - done,
                                 static_cast<off_t>(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return write_failure(block, offset, errno);
        done += static_cast<size_t>(n);
    }
    return {};
}

Status allocate_ram(const RamBlock& block, uint64_t offset, uint64_t length)
{
    const uint64_t start = offset / block.backing_page * block.backing_page;
    const uint64_t end =
        (offset + length + block.backing_page - 1) / block.backing_page * block.backing_page;
    int rc = 0;
    do
        rc = fallocate(block.file.get(), 0, static_cast<off_t>(start),
                       static_cast<off_t>(end - start));
    while (rc < 0 && errno == EINTR);
    if (rc < 0)
        return write_failure(block, offset, errno);
    return {};
}

Status discard_ram(const RamBlock& block, uint64_t offset, uint64_t length)
{
    if (block.backing_page != ram_page_size)
        return write_zeros(block, offset, length);
    if (fallocate(block.file.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                  static_cast<off_t>(offset), static_cast<off_t>(length)) < 0)
        return fail_errno("giving back " + where(block, offset), errno);
    return {};
}

Status for_each_data(const RamBlock& block, uint64_t first_page, uint64_t end_page,
                     const std::function<void(uint64_t, uint64_t)>& visit)
{
    if (block.reader) {
        visit(first_page, end_page - first_page);
        return {};
    }
    const auto end = static_cast<off_t>(end_page * ram_page_size);
    auto at = static_cast<off_t>(first_page * ram_page_size);
    while (at < end) {
        const off_t data = lseek(block.file.get(), at, SEEK_DATA);
        if (data < 0 && errno == ENXIO)
            return {}; // nothing but a hole up to the file's end
        if (data < 0)
            return fail_errno("looking for data in " + where(block, static_cast<uint64_t>(at)),
                              errno);
        if (data >= end)
            return {};
        const off_t hole = lseek(block.file.get(), data, SEEK_HOLE);
        if (hole < 0)
            return fail_errno("looking for a hole in " + where(block, static_cast<uint64_t>(data)),
                              errno);
        const uint64_t first = static_cast<uint64_t>(data) / ram_page_size;
        const uint64_t last =
            (static_cast<uint64_t>(std::min(hole, end)) + ram_page_size - 1) / ram_page_size;
        visit(first, last - first);
        at = hole;
    }
    return {};
}

Result<uint64_t> held_pages(const RamBlock& block)
{
    if (block.reader)
        return block.pages();
    struct stat file {};
    if (fstat(block.file.get(), &file) < 0)
        return fail_errno("asking how much memory RAM block " + block.name + " uses", errno);
    return static_cast<uint64_t>(file.st_blocks) * 512 / ram_page_size;
}

bool can_count_held_pages(const RamBlock& block)
{
    struct statfs system {};
    // Elsewhere what is not in memory may still be on the disk.
    return fstatfs(block.file.get(), &system) == 0 && system.f_type == TMPFS_MAGIC &&
           count_held_pages(block, 0, 1).has_value();
}

std::optional<uint64_t> count_held_pages(const RamBlock& block, uint64_t first_page,
                                         uint64_t end_page)
{
    CachestatRange range{first_page * ram_page_size, (end_page - first_page) * ram_page_size};
    Cachestat found{};
    if (syscall(sys_cachestat, block.file.get(), &range, &found, 0) < 0)
        return std::nullopt;
    return found.in_memory + found.evicted; // of a tmpfs: in swap
}

bool is_zero_page(const std::byte* page)
{
    // Most pages that are not zero differ early; the long loop is one that compilers vectorise.
    uint64_t head[8];
    memcpy(head, page, sizeof head);
    if ((head[0] | head[1] | head[2] | head[3] | head[4] | head[5] | head[6] | head[7]) != 0)
        return false;
    for (uint64_t at = sizeof head; at < ram_page_size; at += 8 * 8 * 7) {
        uint64_t sum = 0;
        const uint64_t end = std::min<uint64_t>(at + 8 * 8 * 7, ram_page_size);
        for (uint64_t i = at; i < end; i += 8) {
            uint64_t word;
            memcpy(&word, page + i, sizeof word);
            sum |= word;
        }
        if (sum != 0)
            return false;
    }
    return true;
}

} // namespace drover
