// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/stream/frame_io.h"
#include "migration/transport/socket_error.h"

#include <cerrno>
#include <sys/socket.h>

namespace drover::stream {

namespace {

class PreambleReadingImpl : public PreambleReading {
public:
    using Done = std::function<void(Result<Greeted>)>;

    PreambleReadingImpl(Socket socket, std::chrono::milliseconds timeout, Done done)
        : socket_(std::move(socket)), done_(std::move(done))
    {
        readable_ = loop::watch(socket_.fd(), G_IO_IN, [this](auto) { on_readable(); });
        timer_ = loop::after(timeout, [this] {
            finish(fail(ErrorKind::Protocol,
                        "at the other end is " + describe_stranger(received()) +
                            ", which did not complete its greeting in time",
                        "both ends of a migration must be Drover"));
        });
    }

private:
    std::span<const std::byte> received() const { return std::span(bytes_).first(filled_); }

    void on_readable()
    {
        while (filled_ < bytes_.size()) { // what TLS has decrypted, the descriptor does not tell of
            const ssize_t n = socket_.receive(std::span(bytes_).subspan(filled_), Socket::Wait::No);
            if (n < 0 && (errno == EINTR || errno == EAGAIN))
                return;
            if (n < 0)
                return finish(std::unexpected(socket_.failure(errno)));
            if (n == 0)
                return finish(fail(ErrorKind::Connection,
                                   "the peer closed the connection during its greeting; it looks "
                                   "like " +
                                       describe_stranger(received())));
            filled_ += static_cast<size_t>(n);
        }
        decide();
    }

    void decide()
    {
        const auto role = decode_preamble(bytes_);
        if (role)
            finish(Greeted{std::move(socket_), *role});
        else
            finish(std::unexpected(role.error()));
    }

    /// The last thing done here: the call may destroy us.
    void finish(Result<Greeted> result)
    {
        readable_.reset();
        timer_.reset();
        if (!result) {
            PreambleBytes ours = encode_preamble(ConnectionRole::Control);
            const iovec piece{ours.data(), ours.size()};
            (void)socket_.send({&piece, 1}, Socket::Wait::No);
            socket_.end_sending();
            socket_.reset();
        }
        const Done call = std::move(done_);
        call(std::move(result));
    }

    Socket socket_;
    Done done_;
    PreambleBytes bytes_{};
    size_t filled_ = 0;
    loop::Source readable_;
    loop::Source timer_;
};

} // namespace

std::unique_ptr<PreambleReading> read_preamble_async(Socket socket,
                                                     std::chrono::milliseconds timeout,
                                                     std::function<void(Result<Greeted>)> done)
{
    return std::make_unique<PreambleReadingImpl>(std::move(socket), timeout, std::move(done));
}

} // namespace drover::stream
