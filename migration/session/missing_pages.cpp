// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/session/missing_pages.h"

#include "migration/session/ram_stripe.h"

#include <algorithm>

namespace drover {

void append_missing(const PageBitmap& pages, uint64_t first, uint64_t end,
                    std::vector<stream::MissingStripe>& out)
{
    if (pages.next_set(first, end) == end)
        return;
    stream::MissingStripe stripe{.first_page = first};
    for (uint64_t page = first; page < end; page += 64)
        stripe.words[(page - first) / 64] = pages.word(page);
    out.push_back(stripe);
}

void tell_missing(std::span<const PageBitmap> pages,
                  const std::function<void(const stream::MissingPages&)>& send)
{
    for (size_t block = 0; block < pages.size(); ++block) {
        stream::MissingPages frame{.block = static_cast<uint32_t>(block)};
        const uint64_t size = pages[block].size();
        for (uint64_t first = 0; first < size; first += stripe_pages) {
            append_missing(pages[block], first, std::min(first + stripe_pages, size),
                           frame.stripes);
            if (frame.stripes.size() < stream::max_missing_stripes)
                continue;
            send(frame);
            frame.stripes.clear();
        }
        if (!frame.stripes.empty())
            send(frame);
    }
}

Status check_missing(const stream::MissingPages& missing, std::span<const RamBlock> ram)
{
    if (missing.block >= ram.size())
        return fail(ErrorKind::Protocol, "pages are missing of RAM block " +
                                             std::to_string(missing.block) + ", there are " +
                                             std::to_string(ram.size()));
    const uint64_t pages = ram[missing.block].pages();
    for (const stream::MissingStripe& stripe : missing.stripes)
        for (size_t i = 0; i < stripe.words.size(); ++i) {
            const uint64_t first = stripe.first_page + i * 64;
            const uint64_t room = first < pages ? pages - first : 0;
            if (stripe.words[i] != 0 && room < 64 && stripe.words[i] >> room != 0)
                return fail(ErrorKind::Protocol, "pages are missing past the end of RAM block " +
                                                     ram[missing.block].name);
        }
    return {};
}

void add_missing(const stream::MissingPages& missing, PageBitmap& pages)
{
    for (const stream::MissingStripe& stripe : missing.stripes)
        for (size_t i = 0; i < stripe.words.size(); ++i)
            if (stripe.words[i] != 0)
                pages.set_word(stripe.first_page + i * 64, stripe.words[i]);
}

uint64_t count_pages(std::span<const PageBitmap> pages)
{
    uint64_t count = 0;
    for (const PageBitmap& block : pages)
        count += block.count();
    return count;
}

} // namespace drover
