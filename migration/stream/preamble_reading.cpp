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

    PreambleReadingImpl(UniqueFd socket, std::chrono::milliseconds timeout, Done done)
        : socket_(std::move(socket)), done_(std::move(done))
    {
        readable_ = loop::watch(socket_.get(), G_IO_IN, [this](auto) { on_readable(); });
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
        const ssize_t n =
            recv(socket_.get(), bytes_.data() + filled_, bytes_.size() - filled_, MSG_DONTWAIT);
        if (n < 0 && (errno == EINTR || errno == EAGAIN))
            return;
        if (n < 0) {
            finish(std::unexpected(connection_error(errno)));
        } else if (n == 0) {
            finish(fail(ErrorKind::Connection, "the peer closed the connection during its greeting"
                                               "; it looks like " +
                                                   describe_stranger(received())));
        } else {
            filled_ += static_cast<size_t>(n);
            if (filled_ == bytes_.size())
                decide();
        }
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
            const PreambleBytes ours = encode_preamble(ConnectionRole::Control);
            send(socket_.get(), ours.data(), ours.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
            shutdown(socket_.get(), SHUT_WR);
            socket_.reset();
        }
        const Done call = std::move(done_);
        call(std::move(result));
    }

    UniqueFd socket_;
    Done done_;
    PreambleBytes bytes_{};
    size_t filled_ = 0;
    loop::Source readable_;
    loop::Source timer_;
};

} // namespace

std::unique_ptr<PreambleReading> read_preamble_async(UniqueFd socket,
                                                     std::chrono::milliseconds timeout,
                                                     std::function<void(Result<Greeted>)> done)
{
    return std::make_unique<PreambleReadingImpl>(std::move(socket), timeout, std::move(done));
}

} // namespace drover::stream
