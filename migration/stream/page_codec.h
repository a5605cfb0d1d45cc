// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/stream/messages.h"
#include "migration/stream/payload_buffer.h"

#include <memory>
#include <span>
#include <vector>

/// Compressing and decompressing pages, many together: a page alone has little that repeats.
namespace drover::stream {

/// A run of a Pages frame and what it needs to be written.
struct UnpackedRun {
    PageRun run;
    /// Raw, Lz4, Zstd: the pages. Repeated: a word of 8 bytes for each. Delta: the records, one for
    /// each, whole. Zero, Hole: nothing.
    std::span<const std::byte> bytes;
};

/// Unpacks one frame after the other. It uses as much memory as the largest had pages: at most
/// max_unpacked. One thread.
class PageUnpacker {
public:
    PageUnpacker();
    ~PageUnpacker();
    PageUnpacker(const PageUnpacker&) = delete;
    PageUnpacker& operator=(const PageUnpacker&) = delete;

    /// What the view points to must stay; the result is valid until the next call. An error (kind
    /// Protocol) if a block does not decompress to exactly its runs' pages.
    [[nodiscard]] Result<std::span<const UnpackedRun>> unpack(const PagesView& view);

private:
    [[nodiscard]] Result<std::span<const std::byte>> unpack_lz4(const PagesView& view);
    [[nodiscard]] Result<std::span<const std::byte>> unpack_zstd(const PagesView& view);

    struct Context; ///< of zstd: made when it is first needed
    std::unique_ptr<Context> context_;
    PayloadBuffer lz4_pages_;
    PayloadBuffer zstd_pages_;
    std::vector<UnpackedRun> runs_;
};

/// Compresses pages. One thread.
class PagePacker {
public:
    PagePacker();
    ~PagePacker();
    PagePacker(const PagePacker&) = delete;
    PagePacker& operator=(const PagePacker&) = delete;

    /// The section of a frame (its size and the block), valid until the next call; empty if that
    /// would save less than an eighth.
    [[nodiscard]] std::span<const std::byte> pack_lz4(std::span<const std::byte> pages);
    /// `level` is zstd's: 1 (fast) to 22.
    [[nodiscard]] std::span<const std::byte> pack_zstd(std::span<const std::byte> pages, int level);

private:
    struct Context;
    [[nodiscard]] std::span<std::byte> room_for(size_t pages_size);
    [[nodiscard]] std::span<const std::byte> section(std::span<std::byte> room, size_t size);

    std::unique_ptr<Context> context_;
    PayloadBuffer out_;
};

} // namespace drover::stream
