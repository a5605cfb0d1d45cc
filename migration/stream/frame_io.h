// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/stream/frame.h"
#include "migration/stream/messages.h"
#include "migration/stream/payload_buffer.h"
#include "migration/transport/channel.h"
#include "migration/transport/socket.h"
#include "util/clock.h"
#include "util/loop.h"

#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <vector>

namespace drover::stream {

/// A whole frame, its checks done. The payload lies in the reader's buffer: valid until the next
/// frame is read.
struct Frame {
    FrameHeader header;
    std::span<const std::byte> payload;
};

/// Writes frames on a Channel, counting the sequence. One thread at a time.
class FrameWriter {
public:
    explicit FrameWriter(Channel& channel) : channel_(channel) {}

    [[nodiscard]] Status write_preamble(ConnectionRole role);
    /// The payload may come in up to 1,000 pieces.
    [[nodiscard]] Status write(FrameType type, std::span<const std::span<const std::byte>> pieces);
    [[nodiscard]] Status write(FrameType type, std::span<const std::byte> payload);

private:
    Channel& channel_;
    uint64_t sequence_ = 0;
    std::vector<iovec> pieces_; // reused from frame to frame
};

/// Reads frames from a Channel: header, sequence and payload checked. One thread at a time.
/// The payload's buffer is reused from frame to frame.
class FrameReader {
public:
    explicit FrameReader(Channel& channel) : channel_(channel) {}

    [[nodiscard]] Result<ConnectionRole> read_preamble();
    /// The frame stays valid until the next call. Where only one type can come it is `only`: any
    /// other is refused (kind Protocol) before its payload is allocated.
    [[nodiscard]] Result<const Frame*> read(std::optional<FrameType> only = std::nullopt);

private:
    Channel& channel_;
    uint64_t sequence_ = 0;
    PayloadBuffer buffer_;
    Frame frame_;
};

/// The same for the loop thread: never blocks; queues what cannot be written at once (at most
/// 64 MiB, then the link is declared dead). For control and ask connections. Loop thread only.
class FrameConnection {
public:
    struct Callbacks {
        std::function<void(const Frame&)> frame;
        /// Once, and nothing is received after it: the link broke, or the peer broke the format
        /// (kind Protocol), or closed it. Last words can still be sent. Never called from within
        /// send().
        std::function<void(Error)> closed;
        /// Optional: the queue, which had been too_long(), is short again.
        std::function<void()> drained = {};
    };
    static constexpr size_t max_queued_bytes = 64U << 20;
    static constexpr size_t long_queue_bytes = 4U << 20;

    /// Takes a connected socket. `expect_preamble`: the peer's preamble has not been read yet and
    /// must have the role `role`. Our own preamble is sent at once if `send_preamble`; then a
    /// preamble may come from the peer even if it is not expected, and a peer that is no Drover is
    /// named in the error.
    /// Callbacks may destroy the connection.
    FrameConnection(Socket socket, ConnectionRole role, bool send_preamble, bool expect_preamble,
                    Callbacks callbacks);
    ~FrameConnection();
    FrameConnection(const FrameConnection&) = delete;
    FrameConnection& operator=(const FrameConnection&) = delete;

    void send(FrameType type, std::span<const std::byte> payload = {});
    void send_json(FrameType type, const Json& payload);

    /// Closes after all that was queued has been written and the peer has closed too, or after a
    /// second. For last words: a plain close with unread input would discard them. No callback is
    /// called any more.
    static void close_gracefully(std::unique_ptr<FrameConnection> connection);

    /// From the next frame on, only these types are taken; anything else ends the connection
    /// (kind Protocol) before its payload is allocated: a stranger gets no 4 MiB from us.
    void expect_only(std::initializer_list<FrameType> types);
    void expect_anything();

    /// Another owner. Not from within a callback.
    void set_callbacks(Callbacks callbacks);

    /// Back-pressure: whoever has much to send stops while this is true, until `drained`.
    [[nodiscard]] bool too_long() const;
    [[nodiscard]] size_t queued_bytes() const;
    /// Back-pressure the other way: nothing is read while held.
    void hold_input(bool hold);

    [[nodiscard]] uint64_t bytes_sent() const;
    /// When a byte came last: how the session tells a silent link from a slow peer.
    [[nodiscard]] TimePoint last_heard() const;
    /// After `closed`: whether all that the peer ever sent has been received. After a reset, or by
    /// silence, the last of it may be lost.
    [[nodiscard]] bool ended_in_order() const;

private:
    class Impl;
    std::shared_ptr<Impl> impl_;
};

/// Reads the preamble of a fresh connection without blocking the loop; `done` gets the role and the
/// socket (blocking or not, as it was) back. A peer that sends nothing for `timeout` is dropped
/// with an error. Destroying the returned object drops the connection and never calls `done`.
/// Whoever is dropped for a wrong preamble gets ours, so that a Drover of another format can name
/// both formats.
class PreambleReading {
public:
    virtual ~PreambleReading() = default;
};
struct Greeted {
    Socket socket;
    ConnectionRole role{};
};
[[nodiscard]] std::unique_ptr<PreambleReading>
read_preamble_async(Socket socket, std::chrono::milliseconds timeout,
                    std::function<void(Result<Greeted>)> done);

} // namespace drover::stream
