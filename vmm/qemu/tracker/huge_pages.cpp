// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/tracker/huge_pages.h"

#include "vmm/qemu/tracker/protection.h"
#include "vmm/qemu/tracker/written_scan.h"

#include <algorithm>
#include <linux/userfaultfd.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace drover {

void HugePages::split(int userfaultfd, uint64_t start, uint64_t end)
{
    for (uint64_t at = (start + bytes - 1) / bytes * bytes; at + bytes <= end; at += bytes) {
        if (!is_huge(at))
            continue;
        // Where it fails the page stays as coarse as it was, or is found written again.
        (void)set_protection(userfaultfd, {at, bytes}, UFFDIO_WRITEPROTECT_MODE_WP);
        const std::lock_guard lock(mutex_);
        split_.push_back({reinterpret_cast<void*>(at), bytes});
    }
}

bool HugePages::is_huge(uint64_t address) const
{
    bool huge = false;
    const Status looked = scan_written(
        pagemap_, address, address + ram_page_size, 0, [&](uint64_t, uint64_t) { huge = true; },
        abi::page_is_huge);
    return looked && huge;
}

void HugePages::join(std::span<const BlockMapping> blocks)
{
    const std::lock_guard lock(mutex_);
    for (const BlockMapping& block : blocks) {
        uffdio_register registration{};
        registration.range = {block.address, block.pages * ram_page_size};
        registration.mode = UFFDIO_REGISTER_MODE_WP;
        const auto first = reinterpret_cast<uintptr_t>(block.address);
        auto is_here = [&](const iovec& page) {
            const auto at = reinterpret_cast<uintptr_t>(page.iov_base);
            return at >= first && at < first + registration.range.len;
        };
        if (std::ranges::none_of(split_, is_here) ||
            ioctl(block.userfaultfd.get(), UFFDIO_UNREGISTER, &registration.range) < 0)
            continue;
        for (const iovec& page : split_) // one by one: a page that cannot be had ends a call
            if (is_here(page))
                (void)syscall(SYS_process_madvise, pidfd_, &page, 1UL, abi::madvise_collapse, 0U);
        (void)ioctl(block.userfaultfd.get(), UFFDIO_REGISTER, &registration);
    }
    split_.clear();
}

} // namespace drover
