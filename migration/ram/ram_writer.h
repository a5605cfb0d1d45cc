// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/ram/ram_block.h"
#include "migration/ram/ram_mapping.h"
#include "util/result.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

namespace drover {

/// How the threads that receive a guest's RAM write it. Any thread, for ranges that are apart.
///
/// What a user has paid for beforehand stays his: RAM that is all there at the start
/// (preallocated, or locked into memory) is made zero and never given back; nor are huge pages,
/// whose reservation would go with them.
class RamWriter {
public:
    /// `ram` must outlive it. Looks at what each block holds: before anything is written. Where
    /// `mapping` (which may be null) does not write, the blocks' files do.
    explicit RamWriter(std::span<const RamBlock> ram,
                       std::unique_ptr<RamMapping> mapping = nullptr);
    ~RamWriter();
    RamWriter(const RamWriter&) = delete;
    RamWriter& operator=(const RamWriter&) = delete;

    /// Makes pages zero that nobody has written through this object yet. Costs little where there
    /// is nothing.
    [[nodiscard]] Status empty(size_t block, uint64_t offset, uint64_t length);

    [[nodiscard]] Status write(size_t block, uint64_t offset, std::span<const std::byte> from);

    /// Makes pages zero that hold something.
    [[nodiscard]] Status discard(size_t block, uint64_t offset, uint64_t length);

private:
    struct Block {
        /// A file has a lock of its own for writing, whose waiters spin. With this one before it
        /// they sleep, and whoever writes has the processor.
        std::mutex writing;
        bool keeps_memory = false;
        bool was_empty = false;
        bool counts = false;      ///< can_count_held_pages()
        std::byte* map = nullptr; ///< of huge pages: hugetlbfs has no write(2)
    };

    [[nodiscard]] Status write_file(size_t block, uint64_t offset, std::span<const std::byte> from);
    [[nodiscard]] Status write_mapped(size_t block, uint64_t offset,
                                      std::span<const std::byte> from);
    [[nodiscard]] Status clear(size_t block, uint64_t offset, uint64_t length);

    std::span<const RamBlock> ram_;
    std::unique_ptr<RamMapping> mapping_;
    std::unique_ptr<Block[]> blocks_; ///< as many as in ram_
};

} // namespace drover
