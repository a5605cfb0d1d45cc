// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "util/fd.h"
#include "util/result.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>

namespace drover {

/// The unit in which RAM is tracked and sent, whatever the page size of the memory behind it.
inline constexpr uint64_t ram_page_size = 4096;

/// How guest RAM is read that is no file: that of a hypervisor beside the kernel. Any thread.
class RamReader {
public:
    virtual ~RamReader() = default;
    /// Pages that the guest does not have read as zeros.
    [[nodiscard]] virtual Status read(uint64_t offset, std::span<std::byte> into) const = 0;
};

/// A piece of guest RAM, as a shared file that the hypervisor maps and that Drover reads and
/// writes; or, with a reader, at a source only, what that reads: all of it counts as data.
///
/// The engine uses pread and pwrite rather than a mapping of its own: reading a hole that way
/// allocates nothing (a read through a mapping of a shared file does), a full file system is an
/// error and not a SIGBUS, and whole pages are written without being zeroed first.
struct RamBlock {
    std::string name;                      ///< the same on both sides
    uint64_t size = 0;                     ///< bytes, a multiple of ram_page_size
    uint64_t backing_page = ram_page_size; ///< bytes; larger for huge pages
    UniqueFd file;
    std::shared_ptr<const RamReader> reader = nullptr; ///< instead of the file

    [[nodiscard]] uint64_t pages() const { return size / ram_page_size; }
};

/// Reads `into.size()` bytes at `offset`; holes read as zeros. Any thread.
[[nodiscard]] Status read_ram(const RamBlock& block, uint64_t offset, std::span<std::byte> into);

/// Writes at `offset`. Fails in words where the file system or memory behind it is full. Any
/// thread.
[[nodiscard]] Status write_ram(const RamBlock& block, uint64_t offset,
                               std::span<const std::byte> from);

/// Allocates the range, in whole backing pages, or fails like write_ram(). Any thread.
[[nodiscard]] Status allocate_ram(const RamBlock& block, uint64_t offset, uint64_t length);

/// Makes the range zero and gives its memory back; but for huge pages, whose reservation would go
/// with them: then another process could take them, and the guest would die of a SIGBUS. Any
/// thread.
[[nodiscard]] Status discard_ram(const RamBlock& block, uint64_t offset, uint64_t length);

/// Calls `visit(first_page, count)` for each stretch of pages that holds data, in order, without
/// touching any; pages outside of all stretches are holes. Where the file system cannot tell
/// (hugetlbfs), the whole block counts as data. Any thread.
///
/// For whole blocks, and not in the guest's pause: whatever `end_page` is, the kernel walks to the
/// end of a stretch, so that range by range it costs the square of the block's size. HoleFinder
/// and count_held_pages() do not.
[[nodiscard]] Status for_each_data(const RamBlock& block, uint64_t first_page, uint64_t end_page,
                                   const std::function<void(uint64_t, uint64_t)>& visit);

/// How many pages the block's file uses, in memory and in swap. One system call. Any thread.
[[nodiscard]] Result<uint64_t> held_pages(const RamBlock& block);

/// Whether count_held_pages() is right for the block: it takes Linux 6.5, and a file on tmpfs (a
/// memfd is one). Any thread.
[[nodiscard]] bool can_count_held_pages(const RamBlock& block);

/// How many of the pages [first_page, end_page) the file holds, in memory or in swap. Its cost
/// grows with that range alone, and it waits for no lock. Nothing if the kernel will not say. Any
/// thread.
[[nodiscard]] std::optional<uint64_t> count_held_pages(const RamBlock& block, uint64_t first_page,
                                                       uint64_t end_page);

/// Whether a page holds nothing but zeros. `page` is ram_page_size long.
[[nodiscard]] bool is_zero_page(const std::byte* page);

} // namespace drover
