// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/session/page_sample.h"

#include "migration/stream/page_delta.h"

#include <algorithm>
#include <gio/gio.h>

namespace drover {

namespace {

constexpr uint64_t wanted_pages = 512;
constexpr size_t compressed_pages = 64;

/// What zlib's fastest level makes of it, in bytes; all of it if it does not get smaller.
size_t compressed_size(std::span<const std::byte> page)
{
    GConverter* zlib = G_CONVERTER(g_zlib_compressor_new(G_ZLIB_COMPRESSOR_FORMAT_RAW, 1));
    std::array<std::byte, 2 * ram_page_size> out;
    gsize read = 0;
    gsize written = 0;
    const GConverterResult result =
        g_converter_convert(zlib, page.data(), page.size(), out.data(), out.size(),
                            G_CONVERTER_INPUT_AT_END, &read, &written, nullptr);
    g_object_unref(zlib);
    return result == G_CONVERTER_FINISHED ? std::min<size_t>(written, page.size()) : page.size();
}

} // namespace

Status PageSample::take(std::span<const PageBitmap> data, uint64_t count)
{
    const uint64_t stride = std::max<uint64_t>(count / wanted_pages, 1);
    uint64_t passed = 0;
    for (size_t block = 0; block < data.size(); ++block)
        for (uint64_t page = data[block].next_set(0, data[block].size());
             page < data[block].size() && pages_.size() < wanted_pages;
             page = data[block].next_set(page + 1, data[block].size())) {
            if (passed++ % stride != 0)
                continue;
            Page& sampled = pages_.emplace_back(block, page);
            if (Status read = read_ram(ram_[block], page * ram_page_size, sampled.content); !read)
                return read;
        }
    look_into();
    return {};
}

void PageSample::look_into()
{
    size_t zeros = 0, tried = 0, bytes = 0;
    for (const Page& page : pages_) {
        if (is_zero_page(page.content.data())) {
            ++zeros;
        } else if (tried < compressed_pages) {
            ++tried;
            bytes += compressed_size(page.content);
        }
    }
    contents_.sampled = pages_.size();
    if (!pages_.empty())
        contents_.zero = static_cast<double>(zeros) / static_cast<double>(pages_.size());
    if (tried > 0)
        contents_.compressed =
            static_cast<double>(bytes) / static_cast<double>(tried * ram_page_size);
}

Status PageSample::compare(std::span<const PageBitmap> dirty)
{
    std::array<std::byte, ram_page_size> now;
    for (Page& page : pages_) {
        if (!dirty[page.block].test(page.number))
            continue;
        if (Status read = read_ram(ram_[page.block], page.number * ram_page_size, now); !read)
            return read;
        uint64_t lines = 0;
        for (size_t i = 0; i < now.size(); ++i) {
            if (now[i] == page.content[i])
                continue;
            ++changed_bytes_;
            lines |= 1ULL << i / stream::delta_line_size;
        }
        delta_bytes_ += std::min(stream::delta_size(lines), ram_page_size);
        page.content = now;
        ++contents_.rewritten;
    }
    if (contents_.rewritten > 0)
        contents_.changed = static_cast<double>(changed_bytes_) /
                            static_cast<double>(contents_.rewritten * ram_page_size);
    if (contents_.rewritten > 0)
        contents_.delta = static_cast<double>(delta_bytes_) /
                          static_cast<double>(contents_.rewritten * ram_page_size);
    return {};
}

} // namespace drover
