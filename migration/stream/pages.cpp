// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/stream/little_endian.h"
#include "migration/stream/messages.h"

#include <bit>
#include <limits>

namespace drover::stream {

namespace {

std::unexpected<Error> bad(std::string why)
{
    return fail(ErrorKind::Protocol, "a Pages frame " + std::move(why));
}

Result<PageRun> take_run(LeReader& reader)
{
    PageRun run;
    run.first_page = reader.take<uint64_t>();
    run.count = reader.take<uint32_t>();
    const auto encoding = reader.take<uint8_t>();
    if (!reader.take_zeros(3))
        return bad("has a run whose reserved bytes are not zero");
    if (run.count == 0)
        return bad("has a run of no pages");
    if (encoding > static_cast<uint8_t>(PageEncoding::Hole))
        return bad("has a run of the unknown encoding " + std::to_string(encoding));
    run.encoding = static_cast<PageEncoding>(encoding);
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

Result<std::vector<PageRun>> take_runs(LeReader& reader, uint32_t count, uint32_t page_size)
{
    const uint64_t data_size = reader.rest().size() - size_t{count} * page_run_size;
    std::vector<PageRun> runs;
    runs.reserve(count); // at most payload / 16: the caller has checked
    uint64_t end = 0, raw_bytes = 0;
    for (uint32_t i = 0; i < count; ++i) {
        auto run = take_run(reader);
        if (!run)
            return pass(run);
        if (auto placed = check_place(*run, end, page_size); !placed)
            return pass(placed);
        end = run->first_page + run->count;
        if (run->encoding == PageEncoding::Raw)
            raw_bytes += uint64_t{run->count} * page_size; // < 2^62, and checked each time
        if (raw_bytes > data_size)
            return bad("has less data than its runs announce");
        runs.push_back(*run);
    }
    if (raw_bytes != data_size)
        return bad("has more data than its runs announce");
    return runs;
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

Result<PagesView> decode_pages(std::span<const std::byte> payload)
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
    auto runs = take_runs(reader, count, page_size);
    if (!runs)
        return pass(runs);
    view.table.runs = std::move(*runs);
    view.data = reader.rest();
    return view;
}

} // namespace drover::stream
