// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/stream/page_codec.h"

#include "migration/stream/little_endian.h"
#include "migration/stream/page_delta.h"

#include <lz4.h>
#include <zstd.h>

namespace drover::stream {

namespace {

constexpr size_t size_field = 4; // before a block: u32 bytes

uint64_t pages_of(const PagesTable& table, PageEncoding encoding)
{
    uint64_t pages = 0;
    for (const PageRun& run : table.runs)
        pages += run.encoding == encoding ? run.count : 0;
    return pages;
}

std::unexpected<Error> not_those_pages(const char* codec)
{
    return fail(ErrorKind::Protocol, std::string("a Pages frame has a block of ") + codec +
                                         " that does not hold the pages of its runs");
}

std::span<const std::byte> take(std::span<const std::byte>& from, size_t size)
{
    const auto taken = from.first(size);
    from = from.subspan(size);
    return taken;
}

/// The sizes of so many records together. decode_pages() has found them whole.
size_t size_of_deltas(std::span<const std::byte> records, uint32_t count)
{
    size_t size = 0;
    for (uint32_t i = 0; i < count; ++i)
        size += delta_record_size(records.subspan(size));
    return size;
}

} // namespace

struct PageUnpacker::Context {
    struct Free {
        void operator()(ZSTD_DCtx* context) const { ZSTD_freeDCtx(context); }
    };
    std::unique_ptr<ZSTD_DCtx, Free> zstd{ZSTD_createDCtx()};
};

PageUnpacker::PageUnpacker() = default;
PageUnpacker::~PageUnpacker() = default;

Result<std::span<const std::byte>> PageUnpacker::unpack_lz4(const PagesView& view)
{
    if (view.lz4.empty())
        return std::span<const std::byte>();
    const size_t size = pages_of(view.table, PageEncoding::Lz4) * view.table.page_size;
    const std::span<std::byte> pages = lz4_pages_.prepare(size);
    const int got = LZ4_decompress_safe(
        reinterpret_cast<const char*>(view.lz4.data()), reinterpret_cast<char*>(pages.data()),
        static_cast<int>(view.lz4.size()), static_cast<int>(pages.size()));
    if (got < 0 || static_cast<size_t>(got) != size)
        return not_those_pages("LZ4");
    return pages;
}

Result<std::span<const std::byte>> PageUnpacker::unpack_zstd(const PagesView& view)
{
    if (view.zstd.empty())
        return std::span<const std::byte>();
    if (!context_)
        context_ = std::make_unique<Context>();
    if (!context_->zstd)
        return fail(ErrorKind::System, "no memory is left to decompress pages with zstd");
    const size_t size = pages_of(view.table, PageEncoding::Zstd) * view.table.page_size;
    const std::span<std::byte> pages = zstd_pages_.prepare(size);
    const size_t got = ZSTD_decompressDCtx(context_->zstd.get(), pages.data(), pages.size(),
                                           view.zstd.data(), view.zstd.size());
    if (ZSTD_isError(got) != 0 || got != size)
        return not_those_pages("zstd");
    return pages;
}

Result<std::span<const UnpackedRun>> PageUnpacker::unpack(const PagesView& view)
{
    auto lz4 = unpack_lz4(view);
    if (!lz4)
        return pass(lz4);
    auto zstd = unpack_zstd(view);
    if (!zstd)
        return pass(zstd);
    std::span<const std::byte> raw = view.raw, words = view.repeated, deltas = view.deltas;
    runs_.clear();
    for (const PageRun& run : view.table.runs) {
        const size_t size = size_t{run.count} * view.table.page_size;
        std::span<const std::byte> bytes;
        switch (run.encoding) {
        case PageEncoding::Zero:
        case PageEncoding::Hole: break;
        case PageEncoding::Raw: bytes = take(raw, size); break;
        case PageEncoding::Lz4: bytes = take(*lz4, size); break;
        case PageEncoding::Zstd: bytes = take(*zstd, size); break;
        case PageEncoding::Repeated:
            bytes = take(words, size_t{run.count} * repeated_word_size);
            break;
        case PageEncoding::Delta: bytes = take(deltas, size_of_deltas(deltas, run.count)); break;
        }
        runs_.push_back({run, bytes});
    }
    return runs_;
}

struct PagePacker::Context {
    struct Free {
        void operator()(ZSTD_CCtx* context) const { ZSTD_freeCCtx(context); }
    };
    std::unique_ptr<ZSTD_CCtx, Free> zstd{ZSTD_createCCtx()};
    LZ4_stream_t lz4;
};

PagePacker::PagePacker() : context_(std::make_unique<Context>()) {}
PagePacker::~PagePacker() = default;

/// So much, less than the pages: a compressor that needs more gives up early.
std::span<std::byte> PagePacker::room_for(size_t pages_size)
{
    return out_.prepare(size_field + pages_size - pages_size / 8);
}

std::span<const std::byte> PagePacker::section(std::span<std::byte> room, size_t size)
{
    store_le(static_cast<uint32_t>(size), room.data());
    return room.first(size_field + size);
}

std::span<const std::byte> PagePacker::pack_lz4(std::span<const std::byte> pages)
{
    const std::span<std::byte> room = room_for(pages.size());
    const std::span<std::byte> block = room.subspan(size_field);
    constexpr int fast = 1;
    const int size = LZ4_compress_fast_extState(
        &context_->lz4, reinterpret_cast<const char*>(pages.data()),
        reinterpret_cast<char*>(block.data()), static_cast<int>(pages.size()),
        static_cast<int>(block.size()), fast);
    return size > 0 ? section(room, static_cast<size_t>(size)) : std::span<const std::byte>();
}

std::span<const std::byte> PagePacker::pack_zstd(std::span<const std::byte> pages, int level)
{
    if (!context_->zstd)
        return {};
    const std::span<std::byte> room = room_for(pages.size());
    const std::span<std::byte> block = room.subspan(size_field);
    const size_t size = ZSTD_compressCCtx(context_->zstd.get(), block.data(), block.size(),
                                          pages.data(), pages.size(), level);
    return ZSTD_isError(size) == 0 ? section(room, size) : std::span<const std::byte>();
}

} // namespace drover::stream
