// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/tracker/holding.h"

#include "vmm/qemu/tracker/kernel_abi.h"

#include <cerrno>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <sys/ioctl.h>

namespace drover {

namespace {

/// A userfaultfd without features yet shows an error to who waits for it.
bool is_enabled(int fd)
{
    pollfd look{fd, POLLIN, 0};
    return poll(&look, 1, 0) >= 0 && !(look.revents & POLLERR);
}

} // namespace

Status enable_holding(const BlockMapping& mapping)
{
    if (!mapping.holding)
        return fail_errno("userfaultfd", mapping.holding_error ? mapping.holding_error : ENOSYS);
    if (is_enabled(mapping.holding.get()))
        return {};
    constexpr uint64_t old = UFFD_FEATURE_THREAD_ID | UFFD_FEATURE_MINOR_SHMEM; // Linux 5.14
    for (const uint64_t features : {old | abi::uffd_holding_features, old}) {
        uffdio_api api{};
        api.api = UFFD_API;
        api.features = features;
        if (ioctl(mapping.holding.get(), UFFDIO_API, &api) == 0)
            return {};
    }
    return fail_errno("holding accesses to guest RAM (userfaultfd, Linux 5.14)", errno);
}

} // namespace drover
