// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/ram/page_digests.h"

#include <cerrno>
#include <sys/mman.h>
#include <utility>
#include <xxhash.h>

namespace drover {

namespace {

/// docs/stream-format.md, RamDigest. The place goes through the hash too, so that pages that
/// changed places show.
uint64_t digest_of(size_t block, uint64_t page, const std::byte* data)
{
    if (is_zero_page(data))
        return 0;
    const uint64_t words[3] = {block, page, XXH3_64bits(data, ram_page_size)};
    static_assert(sizeof words == 24);
    return XXH3_64bits(words, sizeof words);
}

} // namespace

void PageDigests::Unmap::operator()(uint64_t* digests) const
{
    munmap(digests, bytes);
}

Result<PageDigests> PageDigests::create(std::span<const RamBlock> ram)
{
    PageDigests digests;
    for (const RamBlock& block : ram) {
        const size_t bytes = block.pages() * sizeof(uint64_t);
        // Of the kernel itself: what is not used takes no memory.
        void* map = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (map == MAP_FAILED)
            return fail_errno("making room for digests of guest RAM", errno);
        digests.blocks_.emplace_back(static_cast<uint64_t*>(map), Unmap{bytes});
    }
    return digests;
}

uint64_t PageDigests::note(size_t block, uint64_t page, const std::byte* data)
{
    const uint64_t now = digest_of(block, page, data);
    uint64_t& kept = blocks_[block][page];
    if (now == kept) // reading a page of the table that was never written takes no memory
        return 0;
    return now - std::exchange(kept, now);
}

uint64_t PageDigests::note_zero(size_t block, uint64_t page)
{
    uint64_t& kept = blocks_[block][page];
    return kept == 0 ? 0 : 0 - std::exchange(kept, 0);
}

bool PageDigests::is_same(size_t block, uint64_t page, const std::byte* data) const
{
    return blocks_[block][page] == digest_of(block, page, data);
}

} // namespace drover
