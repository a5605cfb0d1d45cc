// SPDX-License-Identifier: GPL-2.0-or-later
//
// The digest of what is in RAM, beside the source's of what it sent.
#include "migration/session/ram_receiver.h"

#include "migration/session/ram_sample.h"
#include "migration/session/ram_stripe.h"
#include "util/log.h"

#include <algorithm>
#include <array>

namespace drover {

namespace {
constexpr uint64_t read_at_once = 16; ///< pages
} // namespace

/// Without them the source's digest has no place, and the migration fails before the guest is here.
void RamReceiver::keep_digests()
{
    auto digests = PageDigests::create(ram_);
    if (digests)
        digests_ = std::move(*digests);
    else
        log::error("RAM cannot be verified: " + digests.error().text());
}

/// A page that is missing is no part of the digest.
void RamReceiver::leave_out(size_t channel, size_t block, const stream::MissingStripe& stripe)
{
    for (uint64_t i = 0; digests_ && i < stripe_pages; ++i)
        if (stripe.words[i / 64] >> (i % 64) & 1)
            sums_[channel] += digests_->note_zero(block, stripe.first_page + i);
}

/// Of what is in RAM now, whatever was sent.
Status RamReceiver::note_digest(size_t channel, size_t block, const stream::PageRun& run)
{
    std::array<std::byte, read_at_once * ram_page_size> pages;
    uint64_t& sum = sums_[channel];
    const uint64_t end = run.first_page + run.count;
    for (uint64_t page = run.first_page; digests_ && page < end;) {
        const uint64_t count = std::min(read_at_once, end - page);
        const std::span<std::byte> into(pages.data(), count * ram_page_size);
        if (Status read = read_ram(ram_[block], page * ram_page_size, into); !read)
            return read;
        for (uint64_t i = 0; i < count; ++i, ++page)
            sum += digests_->note(block, page, pages.data() + i * ram_page_size);
    }
    return {};
}

/// What did not come again since it came is as it was: nobody else has written here.
Status RamReceiver::compare_digest(size_t channel, const stream::Frame& frame)
{
    auto told = stream::decode_u64(frame.payload);
    if (!told)
        return pass(told);
    if (*told != sums_[channel])
        return fail(ErrorKind::Machine,
                    "the guest's RAM did not arrive as it was sent: its digest is another one",
                    "the guest stays at its source; please report it");
    const auto is_missing = [this](size_t block, uint64_t page) {
        return missing_[block].test(page);
    };
    compared_[channel] = 1;
    return look_at_sample(ram_, *digests_, stripes_of(ram_, channel, channels_), is_missing);
}

} // namespace drover
