// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/stream/page_delta.h"

#include "migration/stream/little_endian.h"

#include <bit>
#include <cstring>
#include <xxhash.h>

namespace drover::stream {

namespace {

uint32_t check_of(const std::byte* page)
{
    return static_cast<uint32_t>(XXH3_64bits(page, delta_page_size));
}

} // namespace

size_t delta_size(uint64_t mask)
{
    return delta_head_size + static_cast<size_t>(std::popcount(mask)) * delta_line_size;
}

void append_delta(const std::byte* page, uint64_t mask, std::vector<std::byte>& out)
{
    append_le(out, mask);
    append_le(out, check_of(page));
    for (uint64_t left = mask; left != 0; left &= left - 1) {
        const std::byte* line =
            page + static_cast<size_t>(std::countr_zero(left)) * delta_line_size;
        out.insert(out.end(), line, line + delta_line_size);
    }
}

size_t delta_record_size(std::span<const std::byte> data)
{
    if (data.size() < delta_head_size)
        return 0;
    const auto mask = load_le<uint64_t>(data.data());
    const size_t size = delta_size(mask);
    return mask == 0 || size > data.size() ? 0 : size;
}

bool apply_delta(std::span<const std::byte> record, std::byte* page)
{
    const std::byte* line = record.data() + delta_head_size;
    for (auto left = load_le<uint64_t>(record.data()); left != 0; left &= left - 1) {
        memcpy(page + static_cast<size_t>(std::countr_zero(left)) * delta_line_size, line,
               delta_line_size);
        line += delta_line_size;
    }
    return check_of(page) == load_le<uint32_t>(record.data() + sizeof(uint64_t));
}

} // namespace drover::stream
