// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/session/page_fetcher.h"

#include "migration/session/missing_pages.h"
#include "migration/session/ram_stripe.h"
#include "util/log.h"
#include "util/loop.h"

#include <algorithm>

namespace drover {

namespace {

/// Asked for together with a page that is waited for: who reads one page often reads the next.
constexpr uint64_t read_ahead = 16;

void warn(const Status& status)
{
    if (!status)
        log::error("post-copy: " + status.error().text());
}

} // namespace

PageFetcher::PageFetcher(std::span<const RamBlock> ram, PageHold& hold,
                         std::vector<PageBitmap> missing, Callbacks callbacks)
    : ram_(ram), hold_(hold), callbacks_(std::move(callbacks)), missing_(std::move(missing)),
      missing_count_(count_pages(missing_))
{
    for (const PageBitmap& block : missing_) {
        waited_.emplace_back(block.size());
        asked_.emplace_back(block.size());
    }
}

PageFetcher::~PageFetcher()
{
    *alive_ = false;
}

Status PageFetcher::start()
{
    return hold_.start(missing_, [this, alive = alive_](size_t block, uint64_t page) {
        if (*alive)
            touched(block, page);
    });
}

void PageFetcher::touched(size_t block, uint64_t page)
{
    if (!missing_[block].test(page))
        return let_neighbours_go(block, page);
    if (!waited_[block].test(page) && waited_count_++ == 0)
        waiting_since_ = Clock::now();
    waited_[block].set(page);
    if (!asked_[block].test(page))
        ask(block, page);
}

/// The page and those after it that are missing and not asked for.
void PageFetcher::ask(size_t block, uint64_t page)
{
    const uint64_t end = std::min(
        {page + read_ahead, (page / stripe_pages + 1) * stripe_pages, ram_[block].pages()});
    uint64_t stop = page;
    for (; stop < end && missing_[block].test(stop) && !asked_[block].test(stop); ++stop)
        asked_[block].set(stop);
    ++counters_.requests;
    callbacks_.request({static_cast<uint32_t>(block), static_cast<uint32_t>(stop - page), page});
}

/// Every page that is right is held at first, too. Its whole stripe is let go with it: it is one
/// page of page tables, and costs little more than the page itself.
void PageFetcher::let_neighbours_go(size_t block, uint64_t page)
{
    const uint64_t first = page / stripe_pages * stripe_pages;
    const uint64_t end = std::min(first + stripe_pages, ram_[block].pages());
    const PageBitmap& missing = missing_[block];
    for (uint64_t at = missing.next_clear(first, end); at < end;) {
        const uint64_t stop = missing.next_set(at, end);
        warn(hold_.let_go(block, at, stop - at));
        at = missing.next_clear(stop, end);
    }
    warn(hold_.let_go_zero(block, page));
}

void PageFetcher::link_is_new()
{
    counters_.bytes = 0;
    for (size_t block = 0; block < asked_.size(); ++block) {
        asked_[block].clear_range(0, asked_[block].size());
        const PageBitmap& waited = waited_[block];
        for (uint64_t page = waited.next_set(0, waited.size()); page < waited.size();
             page = waited.next_set(page + 1, waited.size()))
            if (!asked_[block].test(page))
                ask(block, page);
    }
}

Status PageFetcher::check(const stream::PagesTable& table) const
{
    if (table.page_size != ram_page_size || table.block >= ram_.size())
        return fail(ErrorKind::Protocol, "pages of another size or block came");
    const stream::PageRun& last = table.runs.back(); // runs ascend
    if (last.first_page + last.count > ram_[table.block].pages())
        return fail(ErrorKind::Protocol,
                    "pages came past the end of RAM block " + ram_[table.block].name);
    return {};
}

Status PageFetcher::take(const stream::PagesView& pages)
{
    if (Status fits = check(pages.table); !fits)
        return fits;
    const size_t block = pages.table.block;
    const PageBitmap& missing = missing_[block];
    std::span<const std::byte> data = pages.raw;
    for (const stream::PageRun& run : pages.table.runs) {
        const bool raw = run.encoding == stream::PageEncoding::Raw;
        const uint64_t end = run.first_page + run.count;
        for (uint64_t at = missing.next_set(run.first_page, end); at < end;
             at = missing.next_set(at, end)) {
            const uint64_t count = missing.next_clear(at, end) - at;
            Status put = raw ? place(block, at, count,
                                     data.subspan((at - run.first_page) * ram_page_size,
                                                  count * ram_page_size))
                             : place_zeros(block, at, count);
            if (!put)
                return put;
        }
        if (raw)
            data = data.subspan(run.count * ram_page_size);
    }
    counters_.bytes += stream::pages_fixed_size + pages.table.runs.size() * stream::page_run_size +
                       pages.raw.size();
    return {};
}

Status PageFetcher::place(size_t block, uint64_t first, uint64_t count,
                          std::span<const std::byte> data)
{
    if (Status put = write_ram(ram_[block], first * ram_page_size, data); !put)
        return put;
    if (Status go = hold_.let_go(block, first, count); !go)
        return go;
    arrived(block, first, count);
    return {};
}

/// They use no memory but where somebody waits to use them.
Status PageFetcher::place_zeros(size_t block, uint64_t first, uint64_t count)
{
    if (Status put = discard_ram(ram_[block], first * ram_page_size, count * ram_page_size); !put)
        return put;
    const PageBitmap& waited = waited_[block];
    for (uint64_t page = waited.next_set(first, first + count); page < first + count;
         page = waited.next_set(page + 1, first + count))
        if (Status go = hold_.let_go_zero(block, page); !go)
            return go;
    arrived(block, first, count);
    return {};
}

void PageFetcher::no_longer_waited(size_t block, uint64_t first, uint64_t count)
{
    const PageBitmap& waited = waited_[block];
    const uint64_t before = waited_count_;
    for (uint64_t page = waited.next_set(first, first + count); page < first + count;
         page = waited.next_set(page + 1, first + count))
        --waited_count_;
    if (before > 0 && waited_count_ == 0)
        counters_.waited_s += seconds_since(waiting_since_);
    waited_[block].clear_range(first, count);
}

void PageFetcher::arrived(size_t block, uint64_t first, uint64_t count)
{
    missing_[block].clear_range(first, count);
    no_longer_waited(block, first, count);
    counters_.pages += count;
    missing_count_ -= count;
    if (missing_count_ > 0)
        return;
    hold_.stop();
    loop::post([this, alive = alive_] {
        if (*alive)
            callbacks_.complete();
    });
}

} // namespace drover
