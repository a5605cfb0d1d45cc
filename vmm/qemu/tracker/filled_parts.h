// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/ram/ram_block.h"
#include "util/result.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <unistd.h>
#include <utility>
#include <vector>

namespace drover {

/// Which parts of a RAM file hold data, or were once seen to: what is a hole was never written, and
/// need not be watched (watching makes page tables, 2 MiB for each GiB). A part that was not seen
/// filled yet is asked for anew each time. Any thread.
class FilledParts {
public:
    static constexpr uint64_t part_bytes = 2 << 20; ///< what one page-table page maps

    /// The file must outlive it.
    FilledParts(int file, uint64_t bytes)
        : file_(file), filled_((bytes + part_bytes - 1) / part_bytes)
    {
    }

    /// Calls visit(start, end, fresh) for what of [start, end) was ever filled, in order; bytes.
    /// `fresh`: it is (a part of) one part, which was not known to be filled before.
    template <typename Visit>
    [[nodiscard]] Status for_each(uint64_t start, uint64_t end, Visit visit)
    {
        bool fresh = false;
        for (uint64_t at = start; at < end;) {
            uint64_t stop = at;
            while (stop < end && is_filled(stop) && (!fresh || stop == at))
                stop = (stop / part_bytes + 1) * part_bytes;
            stop = std::min(stop, end);
            if (stop == at) {
                at = next_data(at, end);
                fresh = true;
                continue;
            }
            if (Status visited = visit(at, stop, std::exchange(fresh, false)); !visited)
                return visited;
            at = stop;
        }
        return {};
    }

    /// Calls report(start, end) for each page of [start, end) that holds data.
    template <typename Report> void each_data_page(uint64_t start, uint64_t end, Report report)
    {
        for (uint64_t at = start; at < end;) {
            const off_t data = lseek(file_, static_cast<off_t>(at), SEEK_DATA);
            if (data < 0 && errno == ENXIO)
                return;
            const uint64_t page =
                data < 0 ? at : static_cast<uint64_t>(data) / ram_page_size * ram_page_size;
            if (page >= end)
                return;
            at = std::max(at, page) + ram_page_size;
            report(at - ram_page_size, at);
        }
    }

private:
    [[nodiscard]] bool is_filled(uint64_t at) const
    {
        return filled_[at / part_bytes].load(std::memory_order_relaxed);
    }

    /// The first part that holds data; it counts as filled from now on.
    uint64_t next_data(uint64_t at, uint64_t end)
    {
        const off_t data = lseek(file_, static_cast<off_t>(at), SEEK_DATA);
        if (data < 0 && errno == ENXIO)
            return end; // nothing but a hole
        // A file system that cannot tell: then it counts as data.
        const uint64_t found = data < 0 ? at : static_cast<uint64_t>(data);
        if (found >= end)
            return end;
        filled_[found / part_bytes].store(true, std::memory_order_relaxed);
        return std::max(at, found / part_bytes * part_bytes);
    }

    int file_;
    std::vector<std::atomic<bool>> filled_;
};

} // namespace drover
