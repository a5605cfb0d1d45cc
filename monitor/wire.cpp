// SPDX-License-Identifier: GPL-2.0-or-later
#include "monitor/wire.h"

#include "util/defect.h"
#include "util/write_fd.h"

#include <array>
#include <cerrno>
#include <cstring>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

namespace drover {

namespace {

constexpr size_t read_size = 64U << 10;
/// Reads of a peer's last words after a write to it failed.
constexpr int max_last_reads = 64;

using Control = std::array<std::byte, CMSG_SPACE(sizeof(int) * Wire::max_fds)>;

int socket_option(int fd, int option)
{
    int value = -1;
    socklen_t size = sizeof value;
    return getsockopt(fd, SOL_SOCKET, option, &value, &size) == 0 ? value : -1;
}

Error peer_closed()
{
    return {ErrorKind::Connection, "the QMP peer closed the connection", {}};
}

Error qmp_error(const char* what, int errno_value)
{
    // How a close looks depends on what was under way; it is the same thing to the user.
    if (errno_value == ECONNRESET || errno_value == EPIPE)
        return peer_closed();
    Error error = fail_errno(what, errno_value).error();
    error.kind = ErrorKind::Connection;
    return error;
}

std::vector<UniqueFd> take_fds(msghdr& message)
{
    std::vector<UniqueFd> fds;
    for (cmsghdr* c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        const size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; ++i) {
            int fd = -1;
            std::memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
            fds.emplace_back(fd);
        }
    }
    return fds;
}

void put_fds(msghdr& message, Control& control, const std::vector<UniqueFd>& fds)
{
    control.fill({});
    message.msg_control = control.data();
    message.msg_controllen = CMSG_SPACE(sizeof(int) * fds.size());
    cmsghdr* c = CMSG_FIRSTHDR(&message);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int) * fds.size());
    for (size_t i = 0; i < fds.size(); ++i) {
        const int fd = fds[i].get();
        std::memcpy(CMSG_DATA(c) + i * sizeof fd, &fd, sizeof fd);
    }
}

bool try_again_later(ssize_t n)
{
    return n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR);
}

} // namespace

std::shared_ptr<Wire> Wire::open(UniqueFd in, UniqueFd out, Callbacks callbacks)
{
    std::shared_ptr<Wire> wire(new Wire(std::move(in), std::move(out), std::move(callbacks)));
    wire->set_reading(true);
    return wire;
}

Wire::Wire(UniqueFd in, UniqueFd out, Callbacks callbacks)
    : in_(std::move(in)), out_(std::move(out)), callbacks_(std::move(callbacks)),
      is_socket_(socket_option(in_.get(), SO_TYPE) >= 0),
      out_is_socket_(socket_option(out_fd(), SO_TYPE) >= 0),
      passes_fds_(socket_option(out_fd(), SO_DOMAIN) == AF_UNIX)
{
}

loop::Source Wire::watch(int fd, GIOCondition condition, Member member)
{
    return loop::watch(fd, condition, [weak = weak_from_this(), member](GIOCondition) {
        if (const auto self = weak.lock())
            ((*self).*member)();
    });
}

void Wire::set_reading(bool on)
{
    if (!on || ended_ || at_end_of_input_)
        readable_.reset();
    else if (!readable_)
        readable_ = watch(in_.get(), G_IO_IN, &Wire::on_readable);
}

void Wire::on_readable()
{
    std::vector<UniqueFd> fds;
    bool fds_lost = false;
    const ssize_t n = receive(fds, fds_lost);
    if (try_again_later(n))
        return;
    if (n < 0)
        return end(qmp_error("reading from the QMP peer", errno));
    if (fds_lost)
        return end({ErrorKind::Connection, "file descriptors that came with a command were lost",
                    "raise the limit of open files (ulimit -n)"});
    if (n > 0)
        return callbacks_.received(std::string_view(input_.data(), static_cast<size_t>(n)),
                                   std::move(fds));
    at_end_of_input_ = true;
    readable_.reset();
    if (!out_)
        end(peer_closed());
}

ssize_t Wire::receive(std::vector<UniqueFd>& fds, bool& fds_lost)
{
    input_.resize(read_size);
    if (!is_socket_)
        return read(in_.get(), input_.data(), input_.size());
    iovec piece = {input_.data(), input_.size()};
    alignas(cmsghdr) Control control;
    msghdr message = {};
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    const ssize_t n = recvmsg(in_.get(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n >= 0) {
        fds = take_fds(message);
        fds_lost = (message.msg_flags & MSG_CTRUNC) != 0;
    }
    return n;
}

void Wire::send(std::string bytes, std::vector<UniqueFd> fds)
{
    if (ended_ || bytes.empty())
        return;
    require(fds.size() <= max_fds, "that the descriptors fit into one message");
    if (unsent_ > max_unsent)
        return end({ErrorKind::Connection, "the QMP peer left more than 64 MiB unread", {}});
    unsent_ += bytes.size();
    output_.push_back({std::move(bytes), 0, std::move(fds)});
    if (output_.size() == 1)
        on_writable();
}

void Wire::on_writable()
{
    while (!output_.empty()) {
        Chunk& chunk = output_.front();
        const ssize_t n = send_some(chunk);
        if (try_again_later(n)) {
            if (!writable_)
                writable_ = watch(out_fd(), G_IO_OUT, &Wire::on_writable);
            return;
        }
        if (n < 0)
            return end(qmp_error("writing to the QMP peer", errno));
        chunk.fds.clear();
        chunk.sent += static_cast<size_t>(n);
        unsent_ -= static_cast<size_t>(n);
        if (chunk.sent == chunk.bytes.size())
            output_.pop_front();
    }
    writable_.reset();
}

ssize_t Wire::send_some(const Chunk& chunk)
{
    const char* data = chunk.bytes.data() + chunk.sent;
    const size_t size = chunk.bytes.size() - chunk.sent;
    if (!out_is_socket_)
        return write_without_blocking(out_fd(), data, size);
    iovec piece = {const_cast<char*>(data), size};
    alignas(cmsghdr) Control control;
    msghdr message = {};
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    if (!chunk.fds.empty())
        put_fds(message, control, chunk.fds);
    return sendmsg(out_fd(), &message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

void Wire::end(Error why)
{
    if (ended_)
        return;
    ended_ = true;
    stop();
    // Later, because send() may be the cause, and its caller is not prepared to be destroyed.
    loop::post([weak = weak_from_this(), why = std::move(why)] {
        const auto self = weak.lock();
        if (!self)
            return;
        self->hear_last_words();
        if (!self->silent_)
            self->callbacks_.closed(why);
    });
}

/// A dying QEMU says why (SHUTDOWN, an error) before it closes: that must not be lost only because
/// our next write to it failed first.
void Wire::hear_last_words()
{
    for (int i = 0; i < max_last_reads && is_socket_ && !silent_; ++i) {
        std::vector<UniqueFd> fds;
        bool fds_lost = false;
        const ssize_t n = receive(fds, fds_lost);
        if (n <= 0)
            return;
        callbacks_.received(std::string_view(input_.data(), static_cast<size_t>(n)),
                            std::move(fds));
    }
}

void Wire::stop()
{
    readable_.reset();
    writable_.reset();
    output_.clear();
}

void Wire::close()
{
    ended_ = silent_ = true;
    stop();
    in_.reset();
    out_.reset();
}

} // namespace drover
