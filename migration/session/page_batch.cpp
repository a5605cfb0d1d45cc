// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/session/page_batch.h"

#include <array>
#include <cstring>

namespace drover {

namespace {

constexpr uint64_t least_read = 64; ///< pages

} // namespace

using stream::PageEncoding;

PageBatch::PageBatch(stream::FrameWriter& writer, RateLimit& limit, SendProgress& progress,
                     PageEncoder& encoder, SentFrames& frames)
    : writer_(&writer), limit_(limit), progress_(progress), encoder_(encoder), frames_(frames),
      data_(std::make_unique_for_overwrite<std::byte[]>(max_pages * ram_page_size))
{
    table_.page_size = ram_page_size;
}

void PageBatch::begin_round(uint32_t round, bool unlimited)
{
    table_.round = round;
    unlimited_ = unlimited;
    encoder_.set_unlimited(unlimited);
}

Status PageBatch::begin_block(size_t index)
{
    if (table_.block == index && !full())
        return {};
    if (Status status = flush(); !status)
        return status;
    table_.block = static_cast<uint32_t>(index);
    return {};
}

Status PageBatch::add(size_t index, const RamBlock& block, PageBitmap& present, uint64_t first,
                      uint64_t count)
{
    while (count > 0) {
        // A reader maps what it reads, few pages in as much time as many: with little room left the
        // zeros behind some data would be read page by page.
        const bool is_tight = block.reader && max_pages - pages_ < std::min(count, least_read);
        if (Status status = is_tight ? flush() : Status(); !status)
            return status;
        if (Status status = begin_block(index); !status)
            return status;
        const uint64_t now = std::min<uint64_t>(count, max_pages - pages_);
        const std::span<std::byte> room(data_.get() + pages_ * ram_page_size, now * ram_page_size);
        if (Status status = read_ram(block, first * ram_page_size, room); !status)
            return status;
        classify(first, now, present);
        first += now;
        count -= now;
    }
    return {};
}

void PageBatch::classify(uint64_t first, uint64_t count, PageBitmap& present)
{
    const std::byte* from = data_.get() + pages_ * ram_page_size;
    uint64_t zeros = 0;
    for (uint64_t page = first; page < first + count; ++page, from += ram_page_size) {
        if (digests_)
            digest_ += digests_->note(table_.block, page, from);
        if (is_zero_page(from)) {
            ++zeros;
            add_zero(page, present);
            continue;
        }
        if (sent_ && sent_->keeps(table_.block) && sent_->note(table_.block, page, from) &&
            present.test(page))
            continue; // written perhaps, but the destination has just this
        const auto encoding =
            encoder_.encode(table_.block, page, from, present.test(page), table_.round);
        if (!encoding)
            continue; // likewise
        present.set(page);
        append_run(page, *encoding);
        if (*encoding != PageEncoding::Raw) {
            ++encoded_;
            continue;
        }
        std::byte* to = data_.get() + pages_ * ram_page_size;
        if (to != from)
            memcpy(to, from, ram_page_size);
        ++pages_;
    }
    progress_.pages_zero += zeros;
}

/// Tells of a page that is zero, if the destination has something there.
void PageBatch::add_zero(uint64_t page, PageBitmap& present)
{
    if (!present.test(page))
        return;
    present.clear(page);
    encoder_.forget(table_.block, page);
    append_run(page, PageEncoding::Zero);
}

void PageBatch::append_run(uint64_t page, PageEncoding encoding)
{
    if (!table_.runs.empty()) {
        stream::PageRun& last = table_.runs.back();
        if (last.encoding == encoding && last.first_page + last.count == page) {
            ++last.count;
            return;
        }
    }
    table_.runs.push_back({page, 1, encoding});
}

Status PageBatch::flush()
{
    if (table_.runs.empty())
        return {};
    const PageEncoder::Packed packed = encoder_.pack({data_.get(), pages_ * ram_page_size});
    for (stream::PageRun& run : table_.runs)
        if (run.encoding == PageEncoding::Raw)
            run.encoding = packed.encoding;
    if (Status status = write(packed); !status)
        return status;
    progress_.pages_sent += pages_ + encoded_;
    pages_ = encoded_ = 0;
    table_.runs.clear();
    return {};
}

void PageBatch::drop(const SentFrames::Lost& lost)
{
    for (const stream::PageRun& run : table_.runs)
        lost(table_.block, run.first_page, run.count);
    encoder_.drop_frame();
    pages_ = encoded_ = 0;
    table_.runs.clear();
}

/// What is packed is in a section of its own behind the words; raw pages come before them, and
/// there is only one of both.
Status PageBatch::write(const PageEncoder::Packed& packed)
{
    stream::encode_pages_table(table_, head_);
    const bool raw = packed.encoding == PageEncoding::Raw;
    const std::span<const std::byte> none;
    const std::array<std::span<const std::byte>, 5> pieces{
        head_, raw ? packed.section : none, encoder_.repeated(), raw ? none : packed.section,
        encoder_.deltas()};
    uint64_t size = stream::header_size;
    for (const auto piece : pieces)
        size += piece.size();
    const TimePoint start = Clock::now();
    if (!unlimited_ && !limit_.acquire(size))
        return fail(ErrorKind::Cancelled, "the migration was stopped");
    const double limit_s = seconds_since(start);
    frames_.add(table_);
    if (Status status = writer_->write(stream::FrameType::Pages, pieces); !status)
        return status;
    encoder_.sent(size, seconds_since(start) - limit_s, limit_s);
    progress_.bytes += size;
    return {};
}

} // namespace drover
