// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/ram/sent_lines.h"
#include "migration/session/encoding_model.h"
#include "migration/stream/page_codec.h"
#include "util/clock.h"

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

namespace drover {

/// What was sent, by encodings.
struct EncodingTotals {
    struct One {
        uint64_t pages = 0;
        uint64_t bytes = 0; ///< of data, tables and headers apart
    };
    std::array<One, stream::page_encodings> all;
    uint64_t delta_misses = 0; ///< pages sent again whole: their last version was not known
    double cpu_s = 0;          ///< processor time of compressing

    [[nodiscard]] const One& of(stream::PageEncoding encoding) const
    {
        return all[static_cast<size_t>(encoding)];
    }
};

/// The same while it is sent; written by the sending threads, read by anybody at any time.
struct EncodingCounters {
    struct One {
        std::atomic<uint64_t> pages{0};
        std::atomic<uint64_t> bytes{0};
    };
    std::array<One, stream::page_encodings> all;
    std::atomic<uint64_t> delta_misses{0};
    std::atomic<uint64_t> cpu_us{0};
    std::atomic<uint64_t> waited_us{0}; ///< of the channels, for the link

    [[nodiscard]] One& of(stream::PageEncoding encoding)
    {
        return all[static_cast<size_t>(encoding)];
    }
    [[nodiscard]] EncodingTotals totals() const;
};

/// Decides for the pages of one channel how they go, and encodes them. One thread at a time.
class PageEncoder {
public:
    /// `pages` of each block, in their order. `counters` must outlive it.
    PageEncoder(const EncodingBounds& bounds, std::span<const uint64_t> pages, size_t channels,
                EncodingCounters& counters);

    /// The encoding of one page that is not zero (4,096 bytes at `data`), which must be sent then:
    /// Repeated or Delta, whose bytes are in repeated() and deltas() from now on; Raw: it is to be
    /// packed with others; nothing: the destination, which `has` a version of the page, has just
    /// this one.
    [[nodiscard]] std::optional<stream::PageEncoding>
    encode(size_t block, uint64_t page, const std::byte* data, bool has, uint32_t round);

    /// The page is zero now, or the version that was encoded last may not have arrived.
    void forget(size_t block, uint64_t page);

    /// How pages that go whole are to go: Lz4 or Zstd with the frame's section, or Raw with the
    /// pages as they are. Valid until the next call.
    struct Packed {
        stream::PageEncoding encoding = stream::PageEncoding::Raw;
        std::span<const std::byte> section;
    };
    [[nodiscard]] Packed pack(std::span<const std::byte> pages);

    [[nodiscard]] std::span<const std::byte> repeated() const { return repeated_; }
    [[nodiscard]] std::span<const std::byte> deltas() const { return deltas_; }

    /// The frame was written, after it had waited so long for the link, and before that for the
    /// rate limit: begins the next one.
    void sent(uint64_t bytes, double link_s, double limit_s = 0);

    /// The frame was not written, nor will it be: begins the next one.
    void drop_frame();

    /// Whether the rate limit does not hold for what comes now.
    void set_unlimited(bool unlimited) { model_.set_unlimited(unlimited); }

    /// What the page would take on the wire if it were sent now, in bytes. Not while a frame is
    /// under way.
    [[nodiscard]] double expected_bytes(size_t block, uint64_t page, const std::byte* data);

private:
    [[nodiscard]] std::optional<uint64_t> note(size_t block, uint64_t page, const std::byte* data,
                                               bool has, uint32_t round);
    [[nodiscard]] stream::PageEncoding choose(std::span<const std::byte> pages);
    [[nodiscard]] double sample(stream::PageEncoding codec, std::span<const std::byte> pages);
    [[nodiscard]] std::span<const std::byte> run(stream::PageEncoding codec,
                                                 std::span<const std::byte> pages);
    void count(stream::PageEncoding encoding, uint64_t pages, uint64_t bytes);
    [[nodiscard]] double whole_bytes(const std::byte* data);

    EncodingBounds bounds_;
    EncodingModel model_;
    EncodingCounters& counters_;
    std::optional<SentLines> lines_;
    bool keeps_ = false; ///< what was sent, in lines_
    stream::PagePacker packer_;
    TimePoint started_ = Clock::now();
    stream::Bytes repeated_;
    stream::Bytes deltas_;
    std::unique_ptr<std::byte[]> sample_;
    unsigned pause_ = 0; ///< frames that go without a trial, since the last ones told against it
    unsigned paused_ = 0;
};

} // namespace drover
