// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace drover {

/// Guest RAM as the process that runs the guest has it mapped.
///
/// A page that is written there is in that process's page tables, so that the guest's first access
/// does not begin with a fault, of which a guest that has just arrived would have thousands within
/// its pause. And threads do not wait for one another, as they do for a file's lock.
class RamMapping {
public:
    virtual ~RamMapping() = default;

    /// Writes at `offset` of the block, bytes, and says how many it wrote: fewer than asked for, or
    /// none, where the process has ended or its memory is used up. Any thread, for ranges apart.
    [[nodiscard]] virtual size_t write(size_t block, uint64_t offset,
                                       std::span<const std::byte> from) = 0;

    /// Makes pages zero that were written; false where only the block's file can. Any thread.
    [[nodiscard]] virtual bool discard(size_t /*block*/, uint64_t /*offset*/, uint64_t /*length*/)
    {
        return false;
    }

    /// Whether there is nothing but zeros yet, and no file behind it.
    [[nodiscard]] virtual bool is_new() const { return false; }
};

} // namespace drover
