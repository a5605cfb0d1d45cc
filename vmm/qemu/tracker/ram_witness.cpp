// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/tracker/ram_witness.h"

#include "migration/ram/ram_block.h"
#include "vmm/qemu/tracker/kernel_abi.h"
#include "vmm/qemu/tracker/page_entries.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <fcntl.h>
#include <sys/mman.h>

namespace drover {

Result<RamWitness> RamWitness::create(int file, uint64_t pages)
{
    UniqueFd pagemap(open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
    if (!pagemap)
        return fail_errno("opening /proc/self/pagemap", errno);
    void* map = mmap(nullptr, pages * ram_page_size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (map == MAP_FAILED)
        return fail_errno("mapping guest RAM", errno);
    // A child of ours, or a core dump, has no use for it.
    madvise(map, pages * ram_page_size, MADV_DONTFORK);
    madvise(map, pages * ram_page_size, MADV_DONTDUMP);
    return RamWitness(static_cast<std::byte*>(map), pages, std::move(pagemap));
}

RamWitness::RamWitness(RamWitness&& other) noexcept
    : map_(std::exchange(other.map_, nullptr)), pages_(other.pages_),
      pagemap_(std::move(other.pagemap_))
{
}

RamWitness::~RamWitness()
{
    if (map_)
        munmap(map_, pages_ * ram_page_size);
}

Status RamWitness::look(PageBitmap& gone) const
{
    return read_page_entries(pagemap_.get(), reinterpret_cast<uintptr_t>(map_), pages_,
                             [&](uint64_t page, uint64_t entry) {
                                 if (!(entry & entry_present))
                                     gone.set(page);
                             });
}

/// By write faults, which bring one page each. A read fault also maps what lies around it, and so
/// pages whose absence was not yet seen. Nothing is written.
void RamWitness::restore(uint64_t first, uint64_t count) const
{
    std::array<unsigned char, 512> in_memory;
    for (uint64_t at = first, end = first + count, next; at < end; at = next) {
        next = std::min<uint64_t>(end, at + in_memory.size());
        if (mincore(map_ + at * ram_page_size, (next - at) * ram_page_size, in_memory.data()) < 0)
            return;
        for (uint64_t page = at, stop; page < next; page = stop) {
            const bool here = in_memory[page - at] & 1;
            for (stop = page + 1; stop < next && (in_memory[stop - at] & 1) == here;)
                ++stop;
            // Whatever cannot be put back (a bad page, no memory) stays gone, and counts as
            // written.
            if (here)
                (void)madvise(map_ + page * ram_page_size, (stop - page) * ram_page_size,
                              abi::madvise_populate_write);
        }
    }
}

} // namespace drover
