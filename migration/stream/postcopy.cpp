// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/stream/postcopy.h"
#include "migration/stream/little_endian.h"

#include <algorithm>

namespace drover::stream {

namespace {

constexpr size_t missing_fixed_size = 8;
constexpr uint64_t stripe_pages = 512;

std::unexpected<Error> bad(const char* frame, std::string why)
{
    return fail(ErrorKind::Protocol, std::string("a ") + frame + " frame " + std::move(why));
}

} // namespace

Bytes encode(const MissingPages& value)
{
    Bytes out;
    out.reserve(missing_fixed_size + value.stripes.size() * missing_stripe_size);
    append_le(out, value.block);
    append_le(out, uint32_t{0});
    for (const MissingStripe& stripe : value.stripes) {
        append_le(out, stripe.first_page);
        for (const uint64_t word : stripe.words)
            append_le(out, word);
    }
    return out;
}

Result<MissingPages> decode_missing(std::span<const std::byte> payload)
{
    if (payload.size() < missing_fixed_size + missing_stripe_size ||
        (payload.size() - missing_fixed_size) % missing_stripe_size != 0)
        return bad("Missing", "has a wrong size");
    LeReader reader(payload);
    MissingPages value;
    value.block = reader.take<uint32_t>();
    if (reader.take<uint32_t>() != 0)
        return bad("Missing", "has reserved bytes that are not zero");
    while (!reader.rest().empty()) {
        MissingStripe stripe;
        stripe.first_page = reader.take<uint64_t>();
        for (uint64_t& word : stripe.words)
            word = reader.take<uint64_t>();
        const bool ascends =
            value.stripes.empty() || stripe.first_page > value.stripes.back().first_page;
        if (stripe.first_page % stripe_pages != 0 || !ascends)
            return bad("Missing", "has stripes out of place");
        if (std::ranges::all_of(stripe.words, [](uint64_t word) { return word == 0; }))
            return bad("Missing", "has a stripe of which nothing is missing");
        value.stripes.push_back(stripe);
    }
    return value;
}

Bytes encode(const PageRequest& value)
{
    Bytes out;
    append_le(out, value.block);
    append_le(out, value.count);
    append_le(out, value.first_page);
    return out;
}

Result<PageRequest> decode_page_request(std::span<const std::byte> payload)
{
    if (payload.size() != 16)
        return bad("PageRequest", "has a wrong size");
    LeReader reader(payload);
    PageRequest value;
    value.block = reader.take<uint32_t>();
    value.count = reader.take<uint32_t>();
    value.first_page = reader.take<uint64_t>();
    if (value.count == 0 || value.count > max_requested_pages)
        return bad("PageRequest", "asks for " + std::to_string(value.count) + " pages");
    return value;
}

} // namespace drover::stream
