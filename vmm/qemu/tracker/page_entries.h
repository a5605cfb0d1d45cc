// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/ram/ram_block.h"
#include "util/result.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <unistd.h>

namespace drover {

// Bits of an entry of /proc/PID/pagemap. Linux "Documentation/admin-guide/mm/pagemap.rst".
inline constexpr uint64_t entry_present = 1ULL << 63;
inline constexpr uint64_t entry_soft_dirty = 1ULL << 55;

/// Calls report(page, entry) for each page from `address` on; pages are counted from there.
template <typename Report>
[[nodiscard]] Status read_page_entries(int pagemap, uint64_t address, uint64_t pages, Report report)
{
    std::array<uint64_t, 8192> entries;
    for (uint64_t done = 0; done < pages;) {
        const uint64_t wanted = std::min<uint64_t>(entries.size(), pages - done);
        const auto offset = static_cast<off_t>((address / ram_page_size + done) * 8);
        const ssize_t n = pread(pagemap, entries.data(), wanted * 8, offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return fail_errno("reading the guest's pagemap", n < 0 ? errno : ESRCH);
        const auto got = static_cast<uint64_t>(n) / 8;
        for (uint64_t i = 0; i < got; ++i)
            report(done + i, entries[i]);
        done += got;
    }
    return {};
}

} // namespace drover
