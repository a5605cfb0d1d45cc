// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/stream/frame_assembler.h"
#include "migration/transport/socket_error.h"

#include <cerrno>
#include <deque>
#include <optional>
#include <sys/socket.h>

namespace drover::stream {

namespace {

// Bounds on what one turn of the loop does for one connection, so that others get theirs.
constexpr int reads_per_turn = 64;
constexpr size_t discarded_per_turn = 256 << 10;
constexpr std::chrono::seconds linger_time{1};

bool would_block(int errno_value)
{
    return errno_value == EAGAIN || errno_value == EINTR;
}

} // namespace

/// Held by shared_ptr: each source of the loop keeps it alive while it runs, so that callbacks may
/// destroy the connection. Three stages: receiving; deaf (closed() was called, sending goes on);
/// lingering (the owner has gone, the rest of the queue is written).
class FrameConnection::Impl : public std::enable_shared_from_this<Impl> {
public:
    Impl(Socket socket, ConnectionRole role, FrameAssembler::Greeting greeting, Callbacks callbacks)
        : socket_(std::move(socket)), callbacks_(std::move(callbacks)), input_(role, greeting)
    {
    }

    void start() { listen(&Impl::on_readable); }
    void enqueue(Bytes bytes);
    void send_frame(FrameType type, std::span<const std::byte> payload);
    void linger();
    void stop();
    void hold_input(bool hold);
    void expect_only(uint64_t types) { input_.expect_only(types); }

    void set_callbacks(Callbacks callbacks) { callbacks_ = std::move(callbacks); }

    [[nodiscard]] size_t queued_bytes() const { return queued_bytes_; }
    [[nodiscard]] bool too_long() const { return queued_bytes_ > long_queue_bytes; }
    uint64_t bytes_sent() const { return bytes_sent_; }
    TimePoint last_heard() const { return last_heard_; }
    bool ended_in_order() const { return ended_in_order_; }

private:
    loop::Source watch(GIOCondition condition, void (Impl::*handler)());
    void listen(void (Impl::*handler)());
    void read_on();
    void on_readable();
    [[nodiscard]] Error end_of_input(ssize_t result) const;
    void close_input(Error error);
    void close_input_soon(Error error);
    void flush();
    void write_failed(int reason);
    void discard_input();
    void finish_lingering_if_written();

    Socket socket_;
    Callbacks callbacks_;
    loop::Source in_, out_, timer_;
    void (Impl::*reader_)() = nullptr; ///< what `in_` calls
    bool receiving_ = true;
    bool input_ended_ = false;
    bool ended_in_order_ = false;
    bool held_ = false;               // by hold_input()
    bool was_long_ = false;           // `drained` is owed
    std::shared_ptr<Impl> lingering_; // ourselves, while nobody else holds us

    FrameAssembler input_;
    TimePoint last_heard_ = Clock::now();

    std::deque<Bytes> queue_;
    size_t queued_bytes_ = 0;
    size_t front_written_ = 0;
    uint64_t send_sequence_ = 0;
    uint64_t bytes_sent_ = 0;
    std::optional<Error> write_error_;
};

loop::Source FrameConnection::Impl::watch(GIOCondition condition, void (Impl::*handler)())
{
    return loop::watch(socket_.fd(), condition, [weak = weak_from_this(), handler](auto) {
        if (auto self = weak.lock())
            (self.get()->*handler)();
    });
}

// Receiving

void FrameConnection::Impl::listen(void (Impl::*handler)())
{
    reader_ = handler;
    in_ = watch(G_IO_IN, handler);
    read_on();
}

/// What TLS has decrypted already, the descriptor does not tell of.
void FrameConnection::Impl::read_on()
{
    if (!in_ || !socket_.has_received())
        return;
    loop::post([weak = weak_from_this()] {
        if (auto self = weak.lock(); self && self->in_)
            (self.get()->*self->reader_)();
    });
}

void FrameConnection::Impl::on_readable()
{
    for (int i = 0; i < reads_per_turn && receiving_ && !held_; ++i) {
        const auto target = input_.target();
        const ssize_t n = socket_.receive(target, Socket::Wait::No);
        if (n < 0 && would_block(errno))
            return;
        if (n <= 0) {
            Error why = end_of_input(n);
            // Within a host nothing is lost on its way.
            ended_in_order_ = (n == 0 || socket_.is_local()) && !input_.is_amid_frame();
            input_ended_ = true;
            close_input(std::move(why));
            return;
        }
        last_heard_ = Clock::now();
        auto frame = input_.filled(static_cast<size_t>(n));
        if (!frame)
            close_input(std::move(frame.error()));
        else if (*frame)
            callbacks_.frame(**frame);
    }
    read_on();
}

/// Why recv() returned zero or less.
Error FrameConnection::Impl::end_of_input(ssize_t result) const
{
    const Error why = result < 0 ? socket_.failure(errno) : connection_closed();
    return input_.ended(write_error_.value_or(why));
}

void FrameConnection::Impl::close_input(Error error)
{
    if (!receiving_)
        return;
    receiving_ = false;
    in_.reset();
    callbacks_.closed(std::move(error));
}

void FrameConnection::Impl::close_input_soon(Error error)
{
    loop::post([weak = weak_from_this(), error = std::move(error)]() mutable {
        if (auto self = weak.lock())
            self->close_input(std::move(error));
    });
}

// Sending

void FrameConnection::Impl::send_frame(FrameType type, std::span<const std::byte> payload)
{
    if (!socket_ || write_error_)
        return;
    if (payload.size() > payload_cap(type)) {
        write_error_ =
            Error{ErrorKind::Invalid,
                  std::string("a ") + frame_name(type) + " frame of " +
                      std::to_string(payload.size()) + " bytes is larger than the format allows",
                  {}};
        close_input_soon(*write_error_);
        return;
    }
    const HeaderBytes header = encode_header({type, 0, static_cast<uint32_t>(payload.size()),
                                              send_sequence_++, payload_checksum(payload)});
    Bytes bytes;
    bytes.reserve(header.size() + payload.size());
    bytes.insert(bytes.end(), header.begin(), header.end());
    bytes.insert(bytes.end(), payload.begin(), payload.end());
    enqueue(std::move(bytes));
}

void FrameConnection::Impl::enqueue(Bytes bytes)
{
    queued_bytes_ += bytes.size();
    was_long_ = was_long_ || too_long();
    queue_.push_back(std::move(bytes));
    if (!out_)
        flush();
    if (queued_bytes_ <= max_queued_bytes)
        return;
    queue_.clear();
    out_.reset();
    write_error_ = Error{ErrorKind::Connection, "the peer does not read what it is sent",
                         "check the network and the peer, then migrate again"};
    close_input_soon(*write_error_);
}

void FrameConnection::Impl::flush()
{
    while (!queue_.empty()) {
        const auto rest = std::span(queue_.front()).subspan(front_written_);
        const iovec piece{rest.data(), rest.size()};
        const ssize_t n = socket_.send({&piece, 1}, Socket::Wait::No);
        if (n < 0 && would_block(errno)) {
            if (!out_)
                out_ = watch(G_IO_OUT, &Impl::flush);
            return;
        }
        if (n < 0) {
            write_failed(errno);
            break;
        }
        bytes_sent_ += static_cast<uint64_t>(n);
        queued_bytes_ -= static_cast<size_t>(n);
        front_written_ += static_cast<size_t>(n);
        if (front_written_ == queue_.front().size()) {
            queue_.pop_front();
            front_written_ = 0;
        }
    }
    out_.reset();
    finish_lingering_if_written();
    if (std::exchange(was_long_, false) && callbacks_.drained && !lingering_)
        callbacks_.drained();
}

void FrameConnection::Impl::hold_input(bool hold)
{
    if (held_ == hold || !receiving_)
        return;
    held_ = hold;
    if (hold)
        in_.reset();
    else
        listen(&Impl::on_readable);
}

/// The peer may have said why before it closed: then reading goes on, and finds the end soon.
void FrameConnection::Impl::write_failed(int reason)
{
    write_error_ = socket_.failure(reason);
    queue_.clear();
    queued_bytes_ = 0;
    if (reason != EPIPE && reason != ECONNRESET)
        close_input_soon(*write_error_);
}

// Ending

void FrameConnection::Impl::stop()
{
    receiving_ = false;
    in_.reset();
    out_.reset();
    timer_.reset();
    socket_.reset();
    lingering_.reset();
}

void FrameConnection::Impl::linger()
{
    receiving_ = false;
    lingering_ = shared_from_this();
    timer_ = loop::after(linger_time, [weak = weak_from_this()] {
        if (auto self = weak.lock())
            self->stop();
    });
    if (!input_ended_)
        listen(&Impl::discard_input);
    finish_lingering_if_written();
}

void FrameConnection::Impl::finish_lingering_if_written()
{
    if (!lingering_ || !queue_.empty())
        return;
    if (input_ended_ || write_error_) {
        const auto self = std::move(lingering_);
        self->stop();
    } else {
        socket_.end_sending();
    }
}

void FrameConnection::Impl::discard_input()
{
    std::byte bin[16 << 10];
    size_t discarded = 0;
    while (discarded < discarded_per_turn) {
        const ssize_t n = socket_.receive(bin, Socket::Wait::No);
        if (n < 0 && would_block(errno))
            return;
        if (n <= 0) {
            input_ended_ = true;
            in_.reset();
            finish_lingering_if_written();
            return;
        }
        discarded += static_cast<size_t>(n);
    }
    read_on();
}

FrameConnection::FrameConnection(Socket socket, ConnectionRole role, bool send_preamble,
                                 bool expect_preamble, Callbacks callbacks)
{
    using enum FrameAssembler::Greeting;
    const auto greeting = expect_preamble ? Required : send_preamble ? Optional : None;
    impl_ = std::make_shared<Impl>(std::move(socket), role, greeting, std::move(callbacks));
    impl_->start();
    const PreambleBytes preamble = encode_preamble(role);
    if (send_preamble)
        impl_->enqueue({preamble.begin(), preamble.end()});
}

FrameConnection::~FrameConnection()
{
    if (impl_)
        impl_->stop();
}

void FrameConnection::send(FrameType type, std::span<const std::byte> payload)
{
    impl_->send_frame(type, payload);
}

void FrameConnection::send_json(FrameType type, const Json& payload)
{
    impl_->send_frame(type, encode_json(payload));
}

void FrameConnection::close_gracefully(std::unique_ptr<FrameConnection> connection)
{
    if (connection)
        std::exchange(connection->impl_, nullptr)->linger();
}

void FrameConnection::expect_only(std::initializer_list<FrameType> types)
{
    uint64_t bits = 0;
    for (const FrameType type : types)
        bits |= 1ULL << static_cast<unsigned>(type);
    impl_->expect_only(bits);
}

void FrameConnection::expect_anything()
{
    impl_->expect_only(UINT64_MAX);
}

void FrameConnection::set_callbacks(Callbacks callbacks)
{
    impl_->set_callbacks(std::move(callbacks));
}

size_t FrameConnection::queued_bytes() const
{
    return impl_->queued_bytes();
}

bool FrameConnection::too_long() const
{
    return impl_->too_long();
}

void FrameConnection::hold_input(bool hold)
{
    impl_->hold_input(hold);
}

uint64_t FrameConnection::bytes_sent() const
{
    return impl_->bytes_sent();
}

TimePoint FrameConnection::last_heard() const
{
    return impl_->last_heard();
}

bool FrameConnection::ended_in_order() const
{
    return impl_->ended_in_order();
}

} // namespace drover::stream
