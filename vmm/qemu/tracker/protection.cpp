// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/tracker/protection.h"

#include <cerrno>
#include <sys/ioctl.h>

namespace drover {

Status set_protection(int userfaultfd, uffdio_range range, uint64_t mode)
{
    uffdio_writeprotect argument{};
    argument.range = range;
    argument.mode = mode;
    int result;
    do {
        result = ioctl(userfaultfd, UFFDIO_WRITEPROTECT, &argument);
    } while (result < 0 && (errno == EINTR || errno == EAGAIN));
    if (result == 0)
        return {};
    const int error = errno;
    if (mode == 0 && error == ENOENT && ioctl(userfaultfd, UFFDIO_WAKE, &range) == 0)
        return {};
    return fail_errno("changing the write protection of the guest's RAM", error);
}

Status hand_over(uffdio_range range, int from, int to)
{
    if (ioctl(from, UFFDIO_UNREGISTER, &range) < 0)
        return fail_errno("giving up a userfaultfd's part of the guest's RAM", errno);
    // The kernel does not wake them by itself; those that were not stopped would wait for ever.
    (void)ioctl(from, UFFDIO_WAKE, &range);
    uffdio_register registration{};
    registration.range = range;
    registration.mode = UFFDIO_REGISTER_MODE_WP;
    if (ioctl(to, UFFDIO_REGISTER, &registration) < 0)
        return fail_errno("registering the guest's RAM with a userfaultfd", errno);
    return {};
}

} // namespace drover
