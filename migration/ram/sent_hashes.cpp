// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/ram/sent_hashes.h"

#include <cerrno>
#include <sys/mman.h>
#include <sys/random.h>
#include <utility>
#include <xxhash.h>

namespace drover {

void SentHashes::Unmap::operator()(Hash* hashes) const
{
    munmap(hashes, bytes);
}

Result<SentHashes> SentHashes::create()
{
    SentHashes hashes;
    static_assert(sizeof hashes.key_ >= XXH3_SECRET_SIZE_MIN);
    if (getrandom(hashes.key_.data(), hashes.key_.size(), 0) !=
        static_cast<ssize_t>(hashes.key_.size()))
        return fail_errno("making a key for hashes", errno);
    return hashes;
}

Status SentHashes::keep_for(size_t block, uint64_t pages)
{
    const size_t bytes = pages * sizeof(Hash);
    // Of the kernel itself: what is not used takes no memory.
    void* map = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (map == MAP_FAILED)
        return fail_errno("making room for hashes of guest RAM", errno);
    if (blocks_.size() <= block)
        blocks_.resize(block + 1);
    blocks_[block] = std::unique_ptr<Hash[], Unmap>(static_cast<Hash*>(map), Unmap{bytes});
    return {};
}

SentHashes::Hash SentHashes::hash(const std::byte* page) const
{
    const XXH128_hash_t hash =
        XXH3_128bits_withSecret(page, ram_page_size, key_.data(), key_.size());
    return {hash.low64, hash.high64};
}

bool SentHashes::is_same(size_t block, uint64_t page, const std::byte* data) const
{
    return blocks_[block][page] == hash(data);
}

bool SentHashes::note(size_t block, uint64_t page, const std::byte* data)
{
    const Hash now = hash(data);
    return std::exchange(blocks_[block][page], now) == now;
}

} // namespace drover
