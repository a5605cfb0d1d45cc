// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/stream/tunnel.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <sys/socket.h>

namespace drover::stream {

namespace {

constexpr size_t max_streams = 80;            // control, 64 data, and some that are closing
constexpr size_t long_local_queue = 1U << 20; // then the connection is not read for a while
constexpr size_t piece_size = max_tunnel_payload - 4;

} // namespace

struct Tunnel::Stream {
    uint32_t id = 0;
    UniqueFd local; ///< our end; the session has the other
    loop::Source in, out;
    Bytes queue; ///< to be written to `local`
    size_t written = 0;
    bool local_ended = false;  ///< the session closed its end
    bool remote_ended = false; ///< TunnelClose came

    [[nodiscard]] size_t queued() const { return queue.size() - written; }
    void add(std::span<const std::byte> data)
    {
        // A reader that is always a little behind never empties the queue: what it has read goes.
        if (written > long_local_queue) {
            queue.erase(queue.begin(), queue.begin() + static_cast<ptrdiff_t>(written));
            written = 0;
        }
        queue.insert(queue.end(), data.begin(), data.end());
    }
};

Tunnel::Tunnel(Socket socket, bool is_source, Callbacks callbacks)
    : callbacks_(std::move(callbacks)), is_source_(is_source)
{
    connection_ = std::make_unique<FrameConnection>(
        std::move(socket), ConnectionRole::Tunnel, is_source, false,
        FrameConnection::Callbacks{
            .frame = [this](const Frame& frame) { handle(frame); },
            .closed = [this](Error error) { broke(std::move(error)); },
            .drained = [this] { hold_locals(false); },
        });
    connection_->expect_only(
        {FrameType::TunnelOpen, FrameType::TunnelData, FrameType::TunnelClose});
}

Tunnel::~Tunnel()
{
    *alive_ = false;
    FrameConnection::close_gracefully(std::move(connection_));
}

Result<UniqueFd> Tunnel::open()
{
    if (!connection_)
        return fail(ErrorKind::Connection, "the connection that was handed over has ended");
    const uint32_t id = next_id_++;
    auto end = add(id);
    if (end)
        connection_->send(FrameType::TunnelOpen, encode_u32(id));
    return end;
}

Result<UniqueFd> Tunnel::add(uint32_t id)
{
    if (streams_.size() >= max_streams || streams_.contains(id))
        return fail(ErrorKind::Protocol, "a tunnel's stream was opened twice, or is too many");
    auto pair = socket_pair();
    if (!pair)
        return pass(pair);
    if (Status set = set_nonblocking(pair->first.get(), true); !set)
        return pass(set);
    auto stream = std::make_unique<Stream>();
    stream->id = id;
    stream->local = std::move(pair->first);
    watch(*stream);
    streams_[id] = std::move(stream);
    return std::move(pair->second);
}

void Tunnel::watch(Stream& stream)
{
    if (!stream.local_ended && !stream.in)
        stream.in = loop::watch(stream.local.get(), G_IO_IN,
                                [this, &stream](GIOCondition) { read_local(stream); });
}

void Tunnel::read_local(Stream& stream)
{
    std::array<std::byte, max_tunnel_payload> frame;
    const ssize_t n = recv(stream.local.get(), frame.data() + 4, piece_size, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    const Bytes id = encode_u32(stream.id);
    if (n <= 0) {
        stream.local_ended = true;
        stream.in.reset();
        connection_->send(FrameType::TunnelClose, id);
        forget_if_done(stream.id);
        return end_if_done();
    }
    std::copy(id.begin(), id.end(), frame.begin());
    connection_->send(FrameType::TunnelData, std::span(frame).first(4 + static_cast<size_t>(n)));
    if (connection_->too_long())
        hold_locals(true);
}

void Tunnel::hold_locals(bool hold)
{
    for (auto& [id, stream] : streams_) {
        if (hold)
            stream->in.reset();
        else
            watch(*stream);
    }
}

void Tunnel::handle(const Frame& frame)
{
    const auto id = frame.payload.size() >= 4
                        ? decode_u32(frame.payload.first(4))
                        : Result<uint32_t>(fail(ErrorKind::Protocol, "short"));
    const bool known = id && streams_.contains(*id);
    if (id && frame.header.type == FrameType::TunnelOpen && callbacks_.opened) {
        auto end = add(*id);
        if (!end)
            return broke(std::move(end.error()));
        return callbacks_.opened(std::move(*end));
    }
    if (known && frame.header.type == FrameType::TunnelData) {
        Stream& stream = *streams_[*id];
        const auto data = frame.payload.subspan(4);
        if (stream.local_ended)
            return; // the session does not listen any more
        stream.add(data);
        write_local(stream);
        return update_hold();
    }
    if (known && frame.header.type == FrameType::TunnelClose) {
        streams_[*id]->remote_ended = true;
        return write_local(*streams_[*id]);
    }
    if (frame.header.type == FrameType::TunnelOpen) // the source opens them, nobody else
        broke(out_of_place(frame.header.type).error());
}

void Tunnel::write_local(Stream& stream)
{
    while (stream.queued() > 0) {
        const ssize_t n = send(stream.local.get(), stream.queue.data() + stream.written,
                               stream.queued(), MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
            if (!stream.out)
                stream.out = loop::watch(stream.local.get(), G_IO_OUT, [this, &stream](auto) {
                    write_local(stream);
                    update_hold();
                });
            return;
        }
        stream.written = n < 0 ? stream.queue.size() : stream.written + static_cast<size_t>(n);
    }
    stream.queue.clear();
    stream.written = 0;
    stream.out.reset();
    if (stream.remote_ended)
        shutdown(stream.local.get(), SHUT_WR);
    forget_if_done(stream.id);
}

/// A session that is slow to read holds the peer back, and does not fill our memory.
void Tunnel::update_hold()
{
    const bool hold = std::any_of(streams_.begin(), streams_.end(), [](const auto& entry) {
        return entry.second->queued() > long_local_queue;
    });
    if (connection_)
        connection_->hold_input(hold);
}

void Tunnel::forget_if_done(uint32_t id)
{
    const auto found = streams_.find(id);
    if (found == streams_.end() || !found->second->local_ended || !found->second->remote_ended)
        return;
    loop::post([this, alive = alive_, id] { // not from within the stream's own callback
        if (*alive)
            streams_.erase(id);
    });
}

void Tunnel::end_if_done()
{
    const bool in_use =
        std::ranges::any_of(streams_, [](const auto& entry) { return !entry.second->local_ended; });
    if (!is_source_ || in_use)
        return;
    loop::post([this, alive = alive_] { // not from within a stream's own callback
        if (!*alive || !connection_)
            return;
        broke({ErrorKind::Connection, "the session has ended", ""});
        FrameConnection::close_gracefully(std::move(connection_));
    });
}

void Tunnel::broke(Error error)
{
    if (!callbacks_.closed)
        return;
    auto closed = std::exchange(callbacks_.closed, nullptr);
    for (auto& [id, stream] : streams_) {
        stream->in.reset();
        stream->out.reset();
        shutdown(stream->local.get(), SHUT_RDWR);
    }
    closed(std::move(error));
}

} // namespace drover::stream
