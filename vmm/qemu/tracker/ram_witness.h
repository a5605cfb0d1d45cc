// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/ram/page_bitmap.h"
#include "util/fd.h"
#include "util/result.h"

#include <cstdint>

namespace drover {

/// Drover's own mapping of a RAM file, the witness of what the kernel took out of page tables.
///
/// Under memory pressure (swap; the page cache of a file on a disk), or when a huge page is split
/// or put together, the kernel takes a page of shared memory out of all page tables at once, and
/// what QEMU's told of writes is lost with its entry: "values stored only on the normal PTE get
/// lost irretrievably" (Linux "admin-guide/mm/pagemap.rst"). A mere read brings the page back, and
/// then its entry looks clean. But nobody reads here: an entry that is gone from this mapping stays
/// gone until restore(), however often QEMU's comes and goes.
class RamWitness {
public:
    [[nodiscard]] static Result<RamWitness> create(int file, uint64_t pages);
    RamWitness(RamWitness&& other) noexcept;
    RamWitness& operator=(RamWitness&&) = delete;
    ~RamWitness();

    /// Sets in `gone` the pages that are not in this mapping: since they were restored they were
    /// taken away, or they never were restored.
    [[nodiscard]] Status look(PageBitmap& gone) const;

    /// Puts the pages back that are in memory; those that are swapped out stay gone, and nothing is
    /// read from a disk. The pages must hold data: a hole would be filled.
    void restore(uint64_t first, uint64_t count) const;

private:
    RamWitness(std::byte* map, uint64_t pages, UniqueFd pagemap)
        : map_(map), pages_(pages), pagemap_(std::move(pagemap))
    {
    }

    std::byte* map_; // all but unreadable: whoever reads here breaks what it is for
    uint64_t pages_;
    UniqueFd pagemap_; ///< of ourselves
};

} // namespace drover
