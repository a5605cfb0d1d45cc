// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/ram/page_bitmap.h"
#include "migration/ram/page_digests.h"
#include "migration/ram/ram_block.h"
#include "migration/ram/sent_hashes.h"
#include "migration/session/page_encoder.h"
#include "migration/session/sent_frames.h"
#include "migration/stream/frame_io.h"
#include "migration/transport/rate_limit.h"

#include <atomic>
#include <memory>

namespace drover {

/// What was sent; written by the sending threads, read by anybody at any time.
struct SendProgress {
    std::atomic<uint64_t> pages_sent{0}; ///< as bytes
    std::atomic<uint64_t> pages_zero{0}; ///< found zero (sent as a mark, or not at all)
    std::atomic<uint64_t> bytes{0};      ///< on the data channels
    EncodingCounters encodings;
};

/// Gathers pages of one channel into Pages frames. One thread.
///
/// Pages are copied before they are encoded, checked and sent: the guest goes on writing to them,
/// and all that is said of a page must be said of one version.
class PageBatch {
public:
    /// All references must outlive the batch.
    PageBatch(stream::FrameWriter& writer, RateLimit& limit, SendProgress& progress,
              PageEncoder& encoder, SentFrames& frames);

    /// `unlimited`: do not wait for the rate limit.
    void begin_round(uint32_t round, bool unlimited);

    /// Of the blocks that it keeps hashes for, only pages that differ are sent from now on. It must
    /// outlive the batch.
    void compare_with(SentHashes& sent) { sent_ = &sent; }

    /// Notes in `digests`, which must outlive the batch, what all pages of the channel hold that
    /// are added from now on.
    void keep_digest(PageDigests& digests) { digests_ = &digests; }
    /// The page is told, and not sent: it is no part of the digest.
    void leave_out(size_t index, uint64_t page)
    {
        if (digests_)
            digest_ += digests_->note_zero(index, page);
    }
    [[nodiscard]] uint64_t digest() const { return digest_; } ///< of the channel's pages

    /// Adds [first, first + count) of `block`. Zero pages that the destination does not have
    /// (`present` says what it has) cost nothing; `present` is brought up to date.
    [[nodiscard]] Status add(size_t index, const RamBlock& block, PageBitmap& present,
                             uint64_t first, uint64_t count);

    /// Sends what was gathered.
    [[nodiscard]] Status flush();

    /// Forgets what was gathered and calls `lost` for its pages: the link broke.
    void drop(const SentFrames::Lost& lost);
    /// Goes on over another link. Nothing may be gathered.
    void write_to(stream::FrameWriter& writer) { writer_ = &writer; }

private:
    static constexpr size_t max_pages = 128; // 512 KiB: stays in the second-level cache
    static constexpr size_t max_runs = 1024;
    static constexpr size_t max_packed = stream::max_unpacked / ram_page_size; ///< all pages

    [[nodiscard]] Status begin_block(size_t index);
    void classify(uint64_t first, uint64_t count, PageBitmap& present);
    void add_zero(uint64_t page, PageBitmap& present);
    void append_run(uint64_t page, stream::PageEncoding encoding);
    [[nodiscard]] Status write(const PageEncoder::Packed& packed);
    [[nodiscard]] bool full() const
    {
        return pages_ == max_pages || table_.runs.size() >= max_runs ||
               pages_ + encoded_ > max_packed - max_pages;
    }

    stream::FrameWriter* writer_;
    RateLimit& limit_;
    SendProgress& progress_;
    PageEncoder& encoder_;
    SentFrames& frames_;
    SentHashes* sent_ = nullptr;
    PageDigests* digests_ = nullptr;
    uint64_t digest_ = 0;
    stream::PagesTable table_;
    stream::Bytes head_;
    std::unique_ptr<std::byte[]> data_;
    size_t pages_ = 0;   ///< in data_: those that go whole
    size_t encoded_ = 0; ///< pages that the encoder holds
    bool unlimited_ = false;
};

} // namespace drover
