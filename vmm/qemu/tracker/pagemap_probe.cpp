// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/ram/ram_block.h"
#include "vmm/qemu/tracker/pagemap_scan.h"
#include "vmm/qemu/tracker/written_scan.h"

#include <cerrno>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <string>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace drover {

namespace {

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

Result<UniqueFd> open_pagemap(pid_t pid)
{
    const std::string path = "/proc/" + std::to_string(pid) + "/pagemap";
    UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd)
        return fail_errno("opening " + path, errno);
    return fd;
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
    auto scan = [&] {
        return scan_written(pagemap->get(), base, base + memory.size, scan_and_protect, count);
    };

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
