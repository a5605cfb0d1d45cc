// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "vmm/qemu/tracker/placement.h"

#include <cstdint>
#include <mutex>
#include <span>
#include <sys/uio.h>
#include <vector>

namespace drover {

/// Makes writes to transparent huge pages be seen page by page.
///
/// PAGEMAP_SCAN protects such a page as a whole, and one byte written to it is 512 written pages.
/// Protected by UFFDIO_WRITEPROTECT the kernel splits it first. Any thread.
class HugePages {
public:
    static constexpr uint64_t bytes = 2 << 20;

    /// Both descriptors must outlive it.
    HugePages(int pagemap, int pidfd) : pagemap_(pagemap), pidfd_(pidfd) {}

    /// Splits and protects those that lie in [start, end). What is written to them meanwhile is not
    /// reported again: only what was just reported as written may be given, by somebody whose
    /// caller reads the pages after that.
    void split(int userfaultfd, uint64_t start, uint64_t end);

    /// Nothing is tracked any more: a guest that stays here gets its huge pages back. The memory
    /// behind them is still in one piece, but as long as a userfaultfd watches, nobody maps it so.
    void join(std::span<const BlockMapping> blocks);

private:
    [[nodiscard]] bool is_huge(uint64_t address) const;

    int pagemap_;
    int pidfd_;
    std::mutex mutex_;
    std::vector<iovec> split_; ///< since the last join(); guarded by mutex_
};

} // namespace drover
