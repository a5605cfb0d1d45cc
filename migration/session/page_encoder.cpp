// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/session/page_encoder.h"

#include "migration/ram/ram_block.h"
#include "migration/stream/page_delta.h"
#include "util/log.h"

#include <algorithm>
#include <cstring>
#include <ctime>

namespace drover {

using stream::PageEncoding;

namespace {

/// Of the pages that go together, so many are compressed on trial: fewer where that costs anything.
constexpr size_t trial_pages = 16;
constexpr size_t short_trial_pages = 4;
/// A compressor needs some pages to find what they have in common.
constexpr size_t least_packed_pages = 2;
/// Where trials cost something, and tell that compressing does not pay, so many frames at most go
/// without another one.
constexpr unsigned longest_pause = 16;
/// A delta of more than this is not worth its cost to the receiver.
constexpr double largest_delta = 0.6 * ram_page_size;

double thread_cpu_s()
{
    timespec now{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

/// What a long trial costs, as a part of compressing all.
double trial_part(std::span<const std::byte> pages)
{
    return trial_pages * static_cast<double>(ram_page_size) / static_cast<double>(pages.size());
}

/// Whether the page is one word over and over: nearly all pages differ in their first words.
bool is_repeated(const std::byte* page)
{
    return memcmp(page, page + stream::repeated_word_size,
                  ram_page_size - stream::repeated_word_size) == 0;
}

} // namespace

EncodingTotals EncodingCounters::totals() const
{
    EncodingTotals totals;
    for (size_t i = 0; i < all.size(); ++i)
        totals.all[i] = {all[i].pages, all[i].bytes};
    totals.delta_misses = delta_misses;
    totals.cpu_s = static_cast<double>(cpu_us) * 1e-6;
    return totals;
}

PageEncoder::PageEncoder(const EncodingBounds& bounds, std::span<const uint64_t> pages,
                         size_t channels, EncodingCounters& counters)
    : bounds_(bounds), model_(bounds, channels), counters_(counters),
      sample_(std::make_unique_for_overwrite<std::byte[]>(trial_pages * ram_page_size))
{
    if (!bounds.allowed.has(PageEncoding::Delta))
        return;
    auto lines = SentLines::create(pages, channels, bounds.delta_bytes / channels);
    if (lines)
        lines_ = std::move(*lines);
    else // it goes on without
        log::warning("pages are not sent as deltas: " + lines.error().text());
}

std::optional<PageEncoding> PageEncoder::encode(size_t block, uint64_t page, const std::byte* data,
                                                bool has, uint32_t round)
{
    const std::optional<uint64_t> changed = note(block, page, data, has, round);
    if (changed == 0U)
        return std::nullopt;
    if (bounds_.allowed.has(PageEncoding::Repeated) && is_repeated(data)) {
        repeated_.insert(repeated_.end(), data, data + stream::repeated_word_size);
        count(PageEncoding::Repeated, 1, stream::repeated_word_size);
        return PageEncoding::Repeated;
    }
    if (!changed)
        return PageEncoding::Raw;
    const size_t size = stream::delta_size(*changed);
    if (static_cast<double>(size) > largest_delta)
        return PageEncoding::Raw;
    stream::append_delta(data, *changed, deltas_);
    count(PageEncoding::Delta, 1, size);
    return PageEncoding::Delta;
}

/// Which lines have changed since the version that the destination has. Where the link is so fast
/// that keeping versions does not pay, all that is known of them is wrong from now on.
std::optional<uint64_t> PageEncoder::note(size_t block, uint64_t page, const std::byte* data,
                                          bool has, uint32_t round)
{
    if (!lines_)
        return std::nullopt;
    const bool kept = keeps_;
    keeps_ = model_.keeps_versions(kept);
    if (!keeps_) {
        if (kept)
            lines_->forget_all();
        return std::nullopt;
    }
    const auto changed = lines_->note(block, page, data, round);
    if (!has)
        return std::nullopt;
    if (!changed)
        ++counters_.delta_misses;
    return changed;
}

void PageEncoder::forget(size_t block, uint64_t page)
{
    if (lines_ && keeps_)
        lines_->forget(block, page);
}

PageEncoder::Packed PageEncoder::pack(std::span<const std::byte> pages)
{
    Packed packed{PageEncoding::Raw, pages};
    if (pages.empty())
        return packed;
    const PageEncoding best = choose(pages);
    if (best != PageEncoding::Raw)
        if (const auto section = run(best, pages); !section.empty())
            packed = {best, section};
    model_.sent_whole(pages.size(), packed.section.size());
    count(packed.encoding, pages.size() / ram_page_size, packed.section.size());
    return packed;
}

PageEncoding PageEncoder::choose(std::span<const std::byte> pages)
{
    const double now_s = seconds_since(started_);
    if (pages.size() < least_packed_pages * ram_page_size ||
        (!model_.may_gain(PageEncoding::Lz4, now_s) && !model_.may_gain(PageEncoding::Zstd, now_s)))
        return PageEncoding::Raw;
    if (paused_ < pause_) {
        ++paused_;
        return PageEncoding::Raw;
    }
    const double lz4 = sample(PageEncoding::Lz4, pages);
    const PageEncoding best = model_.choose(lz4, sample(PageEncoding::Zstd, pages));
    paused_ = 0;
    pause_ = best != PageEncoding::Raw || model_.trial_is_cheap(trial_part(pages))
                 ? 0
                 : std::clamp(pause_ * 2, 1U, longest_pause);
    return best;
}

/// To what part of their size the codec brings some of the pages; 1 if it cannot gain anyway.
double PageEncoder::sample(PageEncoding codec, std::span<const std::byte> pages)
{
    if (!model_.may_gain(codec, seconds_since(started_)))
        return 1;
    const size_t count = pages.size() / ram_page_size;
    const bool is_cheap = model_.trial_is_cheap(trial_part(pages));
    const size_t tried = is_cheap ? trial_pages : short_trial_pages;
    const size_t sampled = std::min(count, tried);
    for (size_t i = 0; i < sampled; ++i)
        memcpy(sample_.get() + i * ram_page_size,
               pages.data() + i * count / sampled * ram_page_size, ram_page_size);
    const std::span<const std::byte> from(sample_.get(), sampled * ram_page_size);
    const auto section = run(codec, from);
    return section.empty() ? 1
                           : static_cast<double>(section.size()) / static_cast<double>(from.size());
}

std::span<const std::byte> PageEncoder::run(PageEncoding codec, std::span<const std::byte> pages)
{
    const TimePoint start = Clock::now();
    const double cpu_start = thread_cpu_s();
    const auto section = codec == PageEncoding::Lz4 ? packer_.pack_lz4(pages)
                                                    : packer_.pack_zstd(pages, model_.zstd_level());
    const double cpu_s = thread_cpu_s() - cpu_start;
    model_.packed(codec, pages.size(), section.empty() ? pages.size() : section.size(), cpu_s,
                  seconds_since(start));
    counters_.cpu_us += static_cast<uint64_t>(cpu_s * 1e6);
    return section;
}

void PageEncoder::sent(uint64_t bytes, double link_s, double limit_s)
{
    drop_frame();
    model_.wrote(bytes, link_s, limit_s);
    counters_.waited_us += static_cast<uint64_t>((link_s + limit_s) * 1e6);
}

void PageEncoder::drop_frame()
{
    repeated_.clear();
    deltas_.clear();
}

void PageEncoder::count(PageEncoding encoding, uint64_t pages, uint64_t bytes)
{
    counters_.of(encoding).pages += pages;
    counters_.of(encoding).bytes += bytes;
}

double PageEncoder::expected_bytes(size_t block, uint64_t page, const std::byte* data)
{
    constexpr double table_entry = stream::page_run_size;
    if (is_zero_page(data))
        return table_entry;
    const auto changed = lines_ ? lines_->compare(block, page, data) : std::nullopt;
    const double size = changed ? static_cast<double>(stream::delta_size(*changed))
                                : static_cast<double>(ram_page_size);
    return table_entry + (size <= largest_delta ? size : whole_bytes(data));
}

/// Where pages are compressed, what becomes of this one by itself: what was sent last may have been
/// quite other pages than those that are written again and again.
double PageEncoder::whole_bytes(const std::byte* data)
{
    constexpr double hardly_compressed = 0.95;
    if (model_.whole_part() > hardly_compressed)
        return ram_page_size;
    const auto section = packer_.pack_lz4({data, ram_page_size});
    return section.empty() ? double{ram_page_size} : static_cast<double>(section.size());
}

} // namespace drover
