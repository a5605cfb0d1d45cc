// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/ram/sent_lines.h"

#include <algorithm>
#include <cerrno>
#include <sys/mman.h>
#include <sys/random.h>

#define XXH_INLINE_ALL // of 64 bytes each, a call would cost as much as the hash
#include <xxhash.h>

namespace drover {

namespace {

constexpr size_t hashed_line = 64;
constexpr uint64_t channel_stripe = 512; // pages: as session/ram_stripe.h deals them out

} // namespace

void SentLines::Unmap::operator()(Slot* slots) const
{
    munmap(slots, bytes);
}

Result<SentLines> SentLines::create(std::span<const uint64_t> pages, size_t channels, size_t bytes)
{
    SentLines lines;
    static_assert(sizeof lines.key_ >= XXH3_SECRET_SIZE_MIN);
    if (getrandom(lines.key_.data(), lines.key_.size(), 0) !=
        static_cast<ssize_t>(lines.key_.size()))
        return fail_errno("making a key for hashes", errno);
    lines.channels_ = channels;
    uint64_t all = 0;
    for (const uint64_t block : pages) {
        lines.first_.push_back(all);
        all += (block / channel_stripe / channels + 1) * channel_stripe;
    }
    lines.count_ = std::clamp<uint64_t>(bytes / sizeof(Slot), 1, std::max<uint64_t>(all, 1));
    const size_t size = lines.count_ * sizeof(Slot);
    // Of the kernel itself: zeros, and what is not used takes no memory.
    void* map = mmap(nullptr, size, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (map == MAP_FAILED)
        return fail_errno("making room for hashes of guest RAM", errno);
    lines.slots_ = std::unique_ptr<Slot[], Unmap>(static_cast<Slot*>(map), Unmap{size});
    return lines;
}

/// Counts a channel's own pages only, so that they fill the room evenly.
uint64_t SentLines::number(size_t block, uint64_t page) const
{
    return first_[block] + page / channel_stripe / channels_ * channel_stripe +
           page % channel_stripe;
}

uint64_t SentLines::hash(const std::byte* line) const
{
    return XXH3_64bits_withSecret(line, hashed_line, key_.data(), key_.size());
}

std::optional<uint64_t> SentLines::note(size_t block, uint64_t page, const std::byte* data,
                                        uint32_t round)
{
    const uint64_t own = number(block, page) + 1;
    Slot& at = slot(own - 1);
    const bool known = at.page == own;
    if (!known && at.page != 0 && at.round + 1 >= round)
        return std::nullopt; // another one's, which is sent again and again
    at.page = own;
    at.round = round;
    uint64_t changed = 0;
    for (size_t line = 0; line < at.lines.size(); ++line) {
        const uint64_t now = hash(data + line * hashed_line);
        changed |= static_cast<uint64_t>(at.lines[line] != now) << line;
        at.lines[line] = now;
    }
    return known ? std::optional(changed) : std::nullopt;
}

std::optional<uint64_t> SentLines::compare(size_t block, uint64_t page, const std::byte* data) const
{
    const uint64_t own = number(block, page) + 1;
    const Slot& at = slot(own - 1);
    if (at.page != own)
        return std::nullopt;
    uint64_t changed = 0;
    for (size_t line = 0; line < at.lines.size(); ++line)
        changed |= static_cast<uint64_t>(at.lines[line] != hash(data + line * hashed_line)) << line;
    return changed;
}

void SentLines::forget_all()
{
    if (madvise(slots_.get(), bytes(), MADV_DONTNEED) != 0)
        std::fill_n(slots_.get(), count_, Slot{});
}

void SentLines::forget(size_t block, uint64_t page)
{
    const uint64_t own = number(block, page) + 1;
    if (Slot& at = slot(own - 1); at.page == own)
        at.page = 0;
}

} // namespace drover
