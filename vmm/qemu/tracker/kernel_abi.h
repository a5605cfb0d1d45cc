// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <sys/ioctl.h>

/// Parts of the kernel's interface that are newer than Debian 12's headers.
/// Source: Linux "Documentation/admin-guide/mm/pagemap.rst" and "userfaultfd.rst" (6.7).
namespace drover::abi {

inline constexpr uint64_t uffd_feature_pagefault_flag_wp = 1ULL << 0;
inline constexpr uint64_t uffd_feature_wp_hugetlbfs_shmem = 1ULL << 12;
inline constexpr uint64_t uffd_feature_wp_unpopulated = 1ULL << 13;
inline constexpr uint64_t uffd_feature_wp_async = 1ULL << 15;

/// What a tracker asks of userfaultfd: write faults are noted by the kernel itself and wait for
/// nobody, for shared and huge pages as well, and for pages that are not there yet.
inline constexpr uint64_t uffd_tracking_features =
    uffd_feature_pagefault_flag_wp | uffd_feature_wp_hugetlbfs_shmem | uffd_feature_wp_unpopulated |
    uffd_feature_wp_async;

/// ioctl of /dev/userfaultfd (Linux 6.1): a descriptor as if we had the privilege.
inline constexpr unsigned long userfaultfd_new = _IO(0xAA, 0x00);

struct PageRegion {
    uint64_t start; ///< address
    uint64_t end;   ///< address
    uint64_t categories;
};

struct PagemapScanArgument {
    uint64_t size; ///< of this structure
    uint64_t flags;
    uint64_t start;
    uint64_t end;
    uint64_t walk_end; ///< out: where the walk stopped
    uint64_t vec;      ///< PageRegion*
    uint64_t vec_len;
    uint64_t max_pages;
    uint64_t category_inverted;
    uint64_t category_mask;
    uint64_t category_anyof_mask;
    uint64_t return_mask;
};

inline constexpr unsigned long pagemap_scan = _IOWR('f', 16, PagemapScanArgument);
inline constexpr uint64_t scan_wp_matching = 1ULL << 0;
inline constexpr uint64_t scan_check_wpasync = 1ULL << 1;
inline constexpr uint64_t page_is_written = 1ULL << 1;
inline constexpr uint64_t page_is_huge = 1ULL << 6;

/// madvise() (Linux 5.14): as if each page had been written to; an error instead of a SIGBUS.
inline constexpr int madvise_populate_write = 23;
/// (Linux 6.1): a huge page instead of small ones.
inline constexpr int madvise_collapse = 25;

} // namespace drover::abi
