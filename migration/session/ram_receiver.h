// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/ram/page_bitmap.h"
#include "migration/ram/page_digests.h"
#include "migration/ram/ram_block.h"
#include "migration/ram/ram_writer.h"
#include "migration/stream/frame_io.h"
#include "migration/stream/page_codec.h"
#include "migration/stream/postcopy.h"

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <thread>
#include <vector>

namespace drover {

/// Whether pages of these blocks can come as deltas: their old version can be read.
[[nodiscard]] bool can_take_deltas(std::span<const RamBlock> ram);

/// Writes the pages that arrive on the data channels into the guest's RAM, one worker thread for
/// each channel. Public functions: loop thread only.
class RamReceiver {
public:
    struct Callbacks {
        /// All channels have ended this round: everything sent in it is in RAM.
        std::function<void(stream::RoundEnd)> round_ended;
        /// Once: a channel broke or broke the format, or RAM could not be written.
        std::function<void(Error)> failed;
    };

    /// `ram` must outlive the receiver. What is in it is made zero first, by the workers: the
    /// source never tells of a page that is zero there.
    /// `mapping` may be null: how guest RAM is written then, see RamWriter. A connection that has
    /// not named the session after `join_limit` is closed. Pages come in no encoding but those that
    /// are `allowed`; deltas only where can_take_deltas(). `verify`: the source tells a digest of
    /// what it sent, which must be that of what is in RAM; only where can_take_deltas(), too.
    RamReceiver(std::span<const RamBlock> ram, std::unique_ptr<RamMapping> mapping, size_t channels,
                stream::EncodingSet allowed, bool verify, Callbacks callbacks,
                std::chrono::milliseconds join_limit = std::chrono::seconds(10));
    ~RamReceiver(); ///< aborts and joins; no callback follows
    RamReceiver(const RamReceiver&) = delete;
    RamReceiver& operator=(const RamReceiver&) = delete;

    /// Takes a data connection whose preamble has been read. One that does not begin with this
    /// session's Join is closed, and disturbs nothing. The worker checks that. In a flood the one
    /// that has waited longest without a word goes.
    void add_channel(Socket socket, const stream::SessionToken& token);

    /// The link broke: ends all channels. What has come stays.
    void leave_channels();
    /// Then, before others come: says how many frames of each channel were carried out, and counts
    /// rounds from the one after `round` on once more.
    [[nodiscard]] std::vector<uint64_t> go_on_after(uint32_t round);

    /// After the last round, for post-copy: ends the channels, and tells what is missing (one
    /// bitmap a block).
    [[nodiscard]] std::vector<PageBitmap> take_missing();

    [[nodiscard]] uint64_t bytes_received() const { return bytes_; }
    [[nodiscard]] uint64_t pages_received() const { return pages_; }

private:
    struct Connection;

    void keep_digests();
    void end();
    void make_room();
    void run(Connection& connection, const stream::SessionToken& token);
    [[nodiscard]] Status receive(size_t index, stream::FrameReader& reader);
    [[nodiscard]] Result<size_t> read_join(stream::FrameReader& reader,
                                           const stream::SessionToken& token);
    [[nodiscard]] Status empty_stripes(size_t channel);
    [[nodiscard]] Status handle(size_t channel, const stream::Frame& frame,
                                stream::PageUnpacker& unpacker);
    [[nodiscard]] Status note_missing(size_t channel, const stream::Frame& frame);
    [[nodiscard]] Status apply(size_t block, const stream::UnpackedRun& unpacked);
    [[nodiscard]] Status put(size_t block, const stream::UnpackedRun& unpacked);
    [[nodiscard]] Status repeat(size_t block, const stream::UnpackedRun& unpacked);
    [[nodiscard]] Status change(size_t block, const stream::UnpackedRun& unpacked);
    [[nodiscard]] Status check(size_t channel, const stream::PagesTable& table) const;
    [[nodiscard]] Status discard(size_t block, const stream::PageRun& run);
    [[nodiscard]] Status note_digest(size_t channel, size_t block, const stream::PageRun& run);
    void leave_out(size_t channel, size_t block, const stream::MissingStripe& stripe);
    [[nodiscard]] Status compare_digest(size_t channel, const stream::Frame& frame);
    void post_round_end(size_t channel, stream::RoundEnd end);
    void round_end(size_t channel, stream::RoundEnd end);

    std::span<const RamBlock> ram_;
    size_t channels_;
    stream::EncodingSet allowed_;
    Callbacks callbacks_;
    std::chrono::milliseconds join_limit_;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true); // loop thread

    RamWriter writer_;
    std::atomic<bool> ending_{false};
    std::vector<PageBitmap> present_; ///< not zero; each channel has its own stripes
    std::vector<PageBitmap> missing_; ///< likewise
    std::vector<uint32_t> rounds_;    ///< loop thread: the last round that each channel ended
    uint32_t acknowledged_ = 0;       ///< loop thread
    std::unique_ptr<std::atomic<bool>[]> joined_; ///< by index
    std::vector<uint64_t> frames_; ///< by index: carried out; each channel's thread, while it runs
    std::vector<char> emptied_;    ///< by index: its stripes are; likewise
    std::optional<PageDigests> digests_; ///< where they are agreed on
    std::vector<uint64_t> sums_;         ///< by index: of its pages' digests; its thread
    std::vector<char> compared_;         ///< by index: the source's was the same; its thread
    std::atomic<uint64_t> bytes_{0};
    std::atomic<uint64_t> pages_{0};

    std::vector<std::unique_ptr<Connection>> connections_; ///< loop thread; the oldest first
};

} // namespace drover
