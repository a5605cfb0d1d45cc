// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/stream/little_endian.h"
#include "migration/stream/messages.h"
#include "migration/stream/page_delta.h"

#include <bit>
#include <limits>

namespace drover::stream {

namespace {

std::unexpected<Error> bad(std::string why)
{
    return fail(ErrorKind::Protocol, "a Pages frame " + std::move(why));
}

Result<PageRun> take_run(LeReader& reader, EncodingSet allowed)
{
    PageRun run;
    run.first_page = reader.take<uint64_t>();
    run.count = reader.take<uint32_t>();
    const auto encoding = reader.take<uint8_t>();
    if (!reader.take_zeros(3))
        return bad("has a run whose reserved bytes are not zero");
    if (run.count == 0)
        return bad("has a run of no pages");
    if (encoding >= page_encodings)
        return bad("has a run of the unknown encoding " + std::to_string(encoding));
    run.encoding = static_cast<PageEncoding>(encoding);
    if (!allowed.has(run.encoding))
        return bad("has a run of the encoding " + std::string(to_string(run.encoding)) +
                   ", which was not agreed on, or has no place here");
    return run;
}

/// The run follows what came before, and its last byte's offset fits 64 bits.
Status check_place(const PageRun& run, uint64_t previous_end, uint32_t page_size)
{
    const uint64_t last_possible_page = std::numeric_limits<uint64_t>::max() / page_size;
    if (run.first_page > last_possible_page || run.count > last_possible_page - run.first_page)
        return bad("has a run beyond any address");
    if (run.first_page < previous_end)
        return bad("has runs that overlap or are not in ascending order");
    return {};
}

/// How many pages of each encoding a frame has.
using PageCounts = std::array<uint64_t, page_encodings>;

/// What is packed must not unpack to more than a frame may hold, whatever it says.
Status check_counts(const PageCounts& pages, uint32_t page_size)
{
    const auto raw = pages[static_cast<size_t>(PageEncoding::Raw)];
    uint64_t packed = 0; // cannot overflow: a frame has fewer than 2^18 runs, each below 2^32 pages
    for (size_t i = static_cast<size_t>(PageEncoding::Repeated); i < page_encodings; ++i)
        packed += pages[i];
    if (packed > 0 && page_size != smallest_page)
        return bad("has packed pages of " + std::to_string(page_size) + " bytes");
    if (packed > max_unpacked / smallest_page)
        return bad("unpacks to more than a frame may hold");
    if (raw > max_pages_payload / page_size)
        return bad("has less data than its runs announce");
    return {};
}

Result<std::vector<PageRun>> take_runs(LeReader& reader, uint32_t count, uint32_t page_size,
                                       EncodingSet allowed, PageCounts& pages)
{
    std::vector<PageRun> runs;
    runs.reserve(count); // at most payload / 16: the caller has checked
    uint64_t end = 0;
    for (uint32_t i = 0; i < count; ++i) {
        auto run = take_run(reader, allowed);
        if (!run)
            return pass(run);
        if (auto placed = check_place(*run, end, page_size); !placed)
            return pass(placed);
        end = run->first_page + run->count;
        pages[static_cast<size_t>(run->encoding)] += run->count;
        runs.push_back(*run);
    }
    return runs;
}

/// Takes sections off the front of the data.
class SectionReader {
public:
    explicit SectionReader(std::span<const std::byte> data) : rest_(data) {}

    [[nodiscard]] Status take(uint64_t size, std::span<const std::byte>& into)
    {
        if (size > rest_.size())
            return bad("has less data than its runs announce");
        into = rest_.first(size);
        rest_ = rest_.subspan(size);
        return {};
    }

    /// A block and its size before it, for so many pages: none if there are none.
    [[nodiscard]] Status take_block(uint64_t pages, std::span<const std::byte>& into)
    {
        std::span<const std::byte> size;
        if (pages == 0)
            return {};
        if (Status there = take(sizeof(uint32_t), size); !there)
            return there;
        const auto bytes = load_le<uint32_t>(size.data());
        if (bytes == 0 || bytes >= pages * smallest_page)
            return bad("has a block of " + std::to_string(bytes) + " bytes for " +
                       std::to_string(pages) + " pages: nothing was compressed");
        return take(bytes, into);
    }

    [[nodiscard]] Status take_deltas(uint64_t pages, std::span<const std::byte>& into)
    {
        size_t size = 0;
        for (uint64_t i = 0; i < pages; ++i) {
            const size_t record = delta_record_size(rest_.subspan(size));
            if (record == 0)
                return bad("has a delta that is cut off, or of nothing");
            size += record;
        }
        return take(size, into);
    }

    [[nodiscard]] bool at_end() const { return rest_.empty(); }

private:
    std::span<const std::byte> rest_;
};

Status take_sections(std::span<const std::byte> data, const PageCounts& pages, PagesView& view)
{
    const auto count = [&](PageEncoding encoding) { return pages[static_cast<size_t>(encoding)]; };
    SectionReader reader(data);
    Status taken = reader.take(count(PageEncoding::Raw) * view.table.page_size, view.raw);
    if (taken)
        taken = reader.take(count(PageEncoding::Repeated) * repeated_word_size, view.repeated);
    if (taken)
        taken = reader.take_block(count(PageEncoding::Lz4), view.lz4);
    if (taken)
        taken = reader.take_block(count(PageEncoding::Zstd), view.zstd);
    if (taken)
        taken = reader.take_deltas(count(PageEncoding::Delta), view.deltas);
    if (taken && !reader.at_end())
        return bad("has more data than its runs announce");
    return taken;
}

} // namespace

void encode_pages_table(const PagesTable& table, Bytes& out)
{
    out.clear();
    out.reserve(pages_fixed_size + table.runs.size() * page_run_size);
    append_le(out, table.block);
    append_le(out, table.round);
    append_le(out, table.page_size);
    append_le(out, static_cast<uint32_t>(table.runs.size()));
    for (const PageRun& run : table.runs) {
        append_le(out, run.first_page);
        append_le(out, run.count);
        append_le(out, static_cast<uint32_t>(run.encoding)); // one byte and three zeros
    }
}

Result<PagesView> decode_pages(std::span<const std::byte> payload, EncodingSet allowed)
{
    if (payload.size() < pages_fixed_size)
        return bad("ends within its first fields");
    LeReader reader(payload);
    PagesView view;
    view.table.block = reader.take<uint32_t>();
    view.table.round = reader.take<uint32_t>();
    view.table.page_size = reader.take<uint32_t>();
    const auto count = reader.take<uint32_t>();
    const uint32_t page_size = view.table.page_size;
    if (!std::has_single_bit(page_size) || page_size < smallest_page || page_size > largest_page)
        return bad("has pages of " + std::to_string(page_size) + " bytes");
    if (count == 0)
        return bad("has no runs");
    if (count > reader.rest().size() / page_run_size)
        return bad("ends within its table of runs");
    PageCounts pages{};
    auto runs = take_runs(reader, count, page_size, allowed, pages);
    if (!runs)
        return pass(runs);
    view.table.runs = std::move(*runs);
    if (Status fits = check_counts(pages, page_size); !fits)
        return pass(fits);
    if (Status taken = take_sections(reader.rest(), pages, view); !taken)
        return pass(taken);
    return view;
}

} // namespace drover::stream
