// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/ram/page_bitmap.h"
#include "migration/ram/ram_block.h"
#include "migration/stream/frame_io.h"
#include "migration/stream/postcopy.h"
#include "migration/transport/rate_limit.h"
#include "util/loop.h"

#include <optional>
#include <span>
#include <vector>

namespace drover {

/// The source's half of post-copy: the guest stands still here for good, so that RAM does not
/// change, and runs at the destination, which asks for the pages that it touches. They go first;
/// the rest is pushed behind them, nearest to the last request first. Loop thread only.
///
/// Both share one connection, so that a request must not wait behind much that was pushed: no more
/// is on the way than the link needs to be busy (the window). It grows while acknowledgements come
/// as fast as they ever did, and shrinks when they come later: as LEDBAT does (RFC 6817).
class PageServer {
public:
    struct Counters {
        uint64_t requests = 0;
        uint64_t pages_sent = 0; ///< as bytes
        uint64_t pages_zero = 0;
        uint64_t bytes = 0; ///< payload
    };

    /// `pending`, one bitmap a block: what the destination lacks. `ram` must outlive the server.
    PageServer(std::span<const RamBlock> ram, std::vector<PageBitmap> pending);

    /// Answers and pushes go over `connection`, which must stay until detach().
    void attach(stream::FrameConnection& connection);
    void detach();

    /// Until now only what was asked for is sent.
    void start_pushing();
    /// For what is pushed: bytes a second, 0: unlimited.
    void set_rate(uint64_t bytes_per_second);

    /// Fails if the peer names what does not exist.
    [[nodiscard]] Status request(const stream::PageRequest& request);
    /// The same once over `connection`, of pages that may have been sent before and were lost;
    /// while nothing is attached or pushed.
    [[nodiscard]] Status request_over(stream::FrameConnection& connection,
                                      const stream::PageRequest& request);
    /// The peer has put so many bytes of Pages payload in their place, since attach().
    [[nodiscard]] Status placed(uint64_t bytes);

    /// After a break: what the destination says that it lacks. Some of what was sent was lost.
    void set_pending(std::vector<PageBitmap> pending);

    [[nodiscard]] const Counters& counters() const { return counters_; }
    [[nodiscard]] uint64_t pages_left() const { return left_; }

private:
    [[nodiscard]] Status check(const stream::PageRequest& request) const;
    void push();
    [[nodiscard]] bool find_next();
    /// Sends the pending ones of [first, end), at most one frame; returns where it stopped.
    uint64_t send(size_t block, uint64_t first, uint64_t end);
    void put_aside(size_t block, uint64_t page, const Error& why);
    void adapt_window();

    std::span<const RamBlock> ram_;
    std::vector<PageBitmap> pending_;
    uint64_t left_ = 0;
    Counters counters_;
    stream::FrameConnection* connection_ = nullptr;
    bool pushing_ = false;
    std::vector<PageBitmap> unreadable_; ///< left, but not pending: tried when asked for again
    TokenBucket bucket_;
    loop::Source push_timer_;
    size_t next_block_ = 0;
    uint64_t next_page_ = 0;

    uint64_t sent_ = 0; ///< payload bytes since attach()
    uint64_t placed_ = 0;
    uint64_t window_ = 0;
    struct Probe {
        uint64_t end = 0; ///< answered when placed_ has come here
        TimePoint sent{};
    };
    std::optional<Probe> probe_;
    std::optional<double> fastest_s_; ///< from sending to the acknowledgement
};

} // namespace drover
