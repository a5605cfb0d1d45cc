// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/transport/channel.h"
#include "migration/transport/socket_error.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <poll.h>
#include <sys/socket.h>

namespace drover {

Error connection_closed()
{
    return {ErrorKind::Connection, "the peer closed the connection", {}};
}

Error connection_error(int errno_value)
{
    if (errno_value == EPIPE || errno_value == ECONNRESET)
        return connection_closed();
    Error error = fail_errno("the connection broke", errno_value).error();
    error.kind = ErrorKind::Connection;
    return error;
}

namespace {

class SocketChannel : public Channel {
public:
    explicit SocketChannel(Socket socket) : socket_(std::move(socket)) {}

    Status write_all(std::span<const iovec> pieces) override;
    Status read_exact(std::span<std::byte> into) override;
    void abort() override;
    uint64_t bytes_written() const override { return written_.load(std::memory_order_relaxed); }

private:
    static constexpr size_t max_pieces = 1024; // the kernel's UIO_MAXIOV

    Status write_batch(std::span<iovec> pieces);
    Status after_failed_call(short wanted_events);

    Socket socket_;
    std::atomic<bool> aborted_{false};
    std::atomic<uint64_t> written_{0};
};

/// Drops what was written from the front of the pieces.
std::span<iovec> drop_written(std::span<iovec> pieces, size_t written)
{
    while (!pieces.empty() && written >= pieces.front().iov_len) {
        written -= pieces.front().iov_len;
        pieces = pieces.subspan(1);
    }
    if (written > 0) {
        iovec& piece = pieces.front();
        piece.iov_base = static_cast<std::byte*>(piece.iov_base) + written;
        piece.iov_len -= written;
    }
    return pieces;
}

/// After a system call that failed: success means to try again.
Status SocketChannel::after_failed_call(short wanted_events)
{
    const int reason = errno;
    if (aborted_.load())
        return fail(ErrorKind::Cancelled, "the connection was given up");
    if (reason == EINTR)
        return {};
    if (reason != EAGAIN)
        return std::unexpected(socket_.failure(reason));
    // Somebody made the socket non-blocking. shutdown() in abort() ends this poll too.
    pollfd waiting{socket_.fd(), wanted_events, 0};
    poll(&waiting, 1, -1);
    return {};
}

Status SocketChannel::write_batch(std::span<iovec> pieces)
{
    pieces = drop_written(pieces, 0); // empty pieces in front would look like "nothing to write"
    while (!pieces.empty()) {
        const ssize_t n = socket_.send(pieces, Socket::Wait::Yes);
        if (n < 0) {
            if (auto retry = after_failed_call(POLLOUT); !retry)
                return retry;
            continue;
        }
        written_.fetch_add(static_cast<uint64_t>(n), std::memory_order_relaxed);
        pieces = drop_written(pieces, static_cast<size_t>(n));
    }
    return {};
}

Status SocketChannel::write_all(std::span<const iovec> pieces)
{
    std::array<iovec, max_pieces> batch; // the kernel's partial writes make us change them
    while (!pieces.empty()) {
        if (aborted_.load())
            return fail(ErrorKind::Cancelled, "the connection was given up");
        const size_t count = std::min(pieces.size(), max_pieces);
        std::copy_n(pieces.begin(), count, batch.begin());
        if (auto written = write_batch(std::span(batch).first(count)); !written)
            return written;
        pieces = pieces.subspan(count);
    }
    return {};
}

Status SocketChannel::read_exact(std::span<std::byte> into)
{
    while (!into.empty()) {
        const ssize_t n = socket_.receive(into, Socket::Wait::Yes);
        if (n < 0) {
            if (auto retry = after_failed_call(POLLIN); !retry)
                return retry;
            continue;
        }
        // After abort() what is still in the socket's buffer is of no interest any more.
        if (aborted_.load())
            return fail(ErrorKind::Cancelled, "the connection was given up");
        if (n == 0)
            return std::unexpected(connection_closed());
        into = into.subspan(static_cast<size_t>(n));
    }
    return {};
}

void SocketChannel::abort()
{
    aborted_.store(true);
    socket_.abort();
}

} // namespace

std::unique_ptr<Channel> make_socket_channel(Socket socket)
{
    return std::make_unique<SocketChannel>(std::move(socket));
}

} // namespace drover
