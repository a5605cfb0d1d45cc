// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/tracker/pagemap_scan.h"

#include "migration/ram/ram_block.h"
#include "vmm/qemu/tracker/kernel_abi.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <string>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace drover {

namespace {

/// Reads and re-protects the written pages of [start, end); `report(start, end)` gets each run.
template <typename Report>
Status scan_written(int pagemap, uint64_t start, uint64_t end, Report report)
{
    std::array<abi::PageRegion, 1024> regions;
    abi::PagemapScanArgument argument{};
    argument.size = sizeof argument;
    argument.flags = abi::scan_wp_matching | abi::scan_check_wpasync;
    argument.end = end;
    argument.vec = reinterpret_cast<uintptr_t>(regions.data());
    argument.vec_len = regions.size();
    // The same mask twice, and nothing else: the kernel has a fast path for just this.
    argument.category_mask = abi::page_is_written;
    argument.return_mask = abi::page_is_written;
    for (uint64_t at = start; at < end; at = argument.walk_end) {
        argument.start = at;
        int found;
        do {
            found = ioctl(pagemap, abi::pagemap_scan, &argument);
        } while (found < 0 && errno == EINTR);
        if (found < 0)
            return fail_errno("scanning the guest's RAM for written pages (PAGEMAP_SCAN)", errno);
        for (int i = 0; i < found; ++i)
            report(regions[static_cast<size_t>(i)].start, regions[static_cast<size_t>(i)].end);
        if (argument.walk_end <= at)
            return fail(ErrorKind::System, "PAGEMAP_SCAN made no progress");
    }
    return {};
}

class PagemapScanTracker : public DirtyTracker {
public:
    PagemapScanTracker(UniqueFd pagemap, std::span<const BlockMapping> blocks)
        : pagemap_(std::move(pagemap)), blocks_(blocks)
    {
    }
    ~PagemapScanTracker() override { stop(); }

    std::string_view name() const override { return "pagemap-scan"; }
    /// A huge page is protected as a whole: no part of one can be asked for.
    bool collects_ranges() const override
    {
        constexpr uint64_t range = 2 << 20; // the least that anybody asks for, but at a block's end
        return std::ranges::all_of(
            blocks_, [](const BlockMapping& block) { return block.backing_page <= range; });
    }

    Status start() override
    {
        started_ = true;
        for (const BlockMapping& block : blocks_) {
            const uint64_t end = block.address + block.pages * ram_page_size;
            if (Status status =
                    scan_written(pagemap_.get(), block.address, end, [](uint64_t, uint64_t) {});
                !status)
                return status;
        }
        return {};
    }

    Status collect(size_t index, uint64_t first, uint64_t end, PageBitmap& dirty) override
    {
        const BlockMapping& block = blocks_[index];
        const uint64_t base = block.address;
        return scan_written(pagemap_.get(), base + first * ram_page_size,
                            base + end * ram_page_size, [&](uint64_t from, uint64_t to) {
                                dirty.set_range((from - base) / ram_page_size,
                                                (to - from) / ram_page_size);
                            });
    }

    Status collect_all(std::span<PageBitmap> dirty) override
    {
        for (size_t i = 0; i < blocks_.size(); ++i)
            if (Status status = collect(i, 0, blocks_[i].pages, dirty[i]); !status)
                return status;
        return {};
    }

    void stop() override
    {
        if (!std::exchange(started_, false))
            return;
        for (const BlockMapping& block : blocks_) {
            uffdio_writeprotect all{};
            all.range.start = block.address;
            all.range.len = block.pages * ram_page_size;
            ioctl(block.userfaultfd.get(), UFFDIO_WRITEPROTECT, &all); // fails only if QEMU is dead
        }
    }

private:
    UniqueFd pagemap_;
    std::span<const BlockMapping> blocks_;
    bool started_ = false;
};

Result<UniqueFd> open_pagemap(pid_t pid)
{
    const std::string path = "/proc/" + std::to_string(pid) + "/pagemap";
    UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd)
        return fail_errno("opening " + path, errno);
    return fd;
}

/// Two pages of shared memory with a tracking userfaultfd, for the probe.
struct ProbeMemory {
    static constexpr size_t size = 2 * ram_page_size;
    char* map = nullptr;
    UniqueFd userfaultfd;
    ~ProbeMemory()
    {
        if (map)
            munmap(map, size);
    }

    Status make()
    {
        UniqueFd file(memfd_create("drover-probe", MFD_CLOEXEC));
        if (!file || ftruncate(file.get(), size) < 0)
            return fail_errno("making a probe page", errno);
        void* address = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
        if (address == MAP_FAILED)
            return fail_errno("mapping a probe page", errno);
        map = static_cast<char*>(address);
        userfaultfd = UniqueFd(static_cast<int>(
            syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY)));
        if (!userfaultfd)
            return fail_errno("userfaultfd", errno);
        uffdio_api api{};
        api.api = UFFD_API;
        api.features = abi::uffd_tracking_features;
        uffdio_register range{};
        range.range.start = reinterpret_cast<uintptr_t>(map);
        range.range.len = size;
        range.mode = UFFDIO_REGISTER_MODE_WP;
        if (ioctl(userfaultfd.get(), UFFDIO_API, &api) < 0 ||
            ioctl(userfaultfd.get(), UFFDIO_REGISTER, &range) < 0)
            return fail_errno("asynchronous write protection (userfaultfd, Linux 6.7)", errno);
        return {};
    }
};

} // namespace

Result<std::unique_ptr<DirtyTracker>>
make_pagemap_scan_tracker(pid_t pid, std::span<const BlockMapping> blocks)
{
    auto pagemap = open_pagemap(pid);
    if (!pagemap)
        return pass(pagemap);
    return std::make_unique<PagemapScanTracker>(std::move(*pagemap), blocks);
}

Status probe_pagemap_scan()
{
    ProbeMemory memory;
    if (Status status = memory.make(); !status)
        return status;
    auto pagemap = open_pagemap(getpid());
    if (!pagemap)
        return pass(pagemap);
    const auto base = reinterpret_cast<uintptr_t>(memory.map);
    uint64_t written = 0;
    auto count = [&](uint64_t from, uint64_t to) { written += (to - from) / ram_page_size; };
    auto scan = [&] { return scan_written(pagemap->get(), base, base + memory.size, count); };

    static_cast<volatile char*>(memory.map)[0] = 1;
    if (Status status = scan(); !status)
        return status;
    written = 0;
    static_cast<volatile char*>(memory.map)[ram_page_size] = 1;
    if (Status status = scan(); !status)
        return status;
    if (written != 1)
        return fail(ErrorKind::System, "PAGEMAP_SCAN reported " + std::to_string(written) +
                                           " written pages where there was one");
    return {};
}

} // namespace drover
