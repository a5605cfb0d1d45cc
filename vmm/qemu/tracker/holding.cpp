// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/tracker/holding.h"

#include "vmm/qemu/tracker/kernel_abi.h"

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <linux/userfaultfd.h>
#include <string>
#include <sys/ioctl.h>

namespace drover {

namespace {

/// All that is of use, and what may be left out, the newest first: Linux 6.4, 5.19, 5.14, 5.7.
constexpr uint64_t all_features =
    abi::uffd_feature_pagefault_flag_wp | abi::uffd_feature_wp_hugetlbfs_shmem |
    abi::uffd_feature_wp_unpopulated | UFFD_FEATURE_THREAD_ID | UFFD_FEATURE_MINOR_SHMEM;
constexpr std::array<uint64_t, 5> left_out = {
    0, abi::uffd_feature_wp_unpopulated, abi::uffd_feature_wp_hugetlbfs_shmem,
    UFFD_FEATURE_MINOR_SHMEM, abi::uffd_feature_pagefault_flag_wp};

/// The features that it has, which proc(5) tells; 0 before it was given any.
Result<uint64_t> features_of(int userfaultfd)
{
    const std::string path = "/proc/self/fdinfo/" + std::to_string(userfaultfd);
    std::ifstream file(path);
    for (std::string line; std::getline(file, line);) {
        unsigned long long features = 0;
        if (sscanf(line.c_str(), "API: %*x:%llx:", &features) == 1)
            return features & all_features;
    }
    return fail(ErrorKind::System, path + " does not tell a userfaultfd's features");
}

} // namespace

Result<uint64_t> enable_holding(const BlockMapping& block)
{
    if (!block.holding)
        return fail(ErrorKind::System,
                    "this host does not permit QEMU a userfaultfd that can make the guest wait" +
                        (block.holding_error ? std::string(": ") + strerror(block.holding_error)
                                             : std::string()),
                    "run Drover as root, give it access to /dev/userfaultfd, or set the sysctl "
                    "vm.unprivileged_userfaultfd to 1");
    auto features = features_of(block.holding.get());
    if (!features || *features != 0)
        return features;
    uint64_t wanted = all_features;
    for (const uint64_t unknown : left_out) {
        wanted &= ~unknown;
        uffdio_api api{}; // a refusal leaves it empty
        api.api = UFFD_API;
        api.features = wanted;
        if (ioctl(block.holding.get(), UFFDIO_API, &api) == 0)
            return wanted;
    }
    return fail_errno("giving a userfaultfd its features", errno);
}

} // namespace drover
