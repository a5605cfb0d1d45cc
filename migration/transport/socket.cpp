// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/transport/socket.h"

#include "migration/transport/socket_error.h"
#include "migration/transport/tls_session.h"

#include <sys/socket.h>

namespace drover {

Socket::Socket() = default;
Socket::Socket(UniqueFd plain) : fd_(std::move(plain)) {}
Socket::Socket(UniqueFd fd, std::unique_ptr<TlsSession> tls)
    : fd_(std::move(fd)), tls_(std::move(tls))
{
}
Socket::~Socket() = default;
Socket::Socket(Socket&& other) noexcept = default;
Socket& Socket::operator=(Socket&& other) noexcept = default;

void Socket::reset()
{
    tls_.reset();
    fd_.reset();
}

ssize_t Socket::receive(std::span<std::byte> into, Wait wait)
{
    if (tls_)
        return tls_->receive(into, wait == Wait::Yes);
    return recv(fd_.get(), into.data(), into.size(), wait == Wait::Yes ? 0 : MSG_DONTWAIT);
}

ssize_t Socket::send(std::span<const iovec> pieces, Wait wait)
{
    if (tls_)
        return tls_->send(pieces, wait == Wait::Yes);
    msghdr message{};
    message.msg_iov = const_cast<iovec*>(pieces.data()); // which sendmsg() does not change
    message.msg_iovlen = pieces.size();
    return sendmsg(fd_.get(), &message, MSG_NOSIGNAL | (wait == Wait::Yes ? 0 : MSG_DONTWAIT));
}

bool Socket::has_received() const
{
    return tls_ && tls_->has_received();
}

void Socket::end_sending()
{
    if (tls_)
        tls_->end_sending();
    shutdown(fd_.get(), SHUT_WR);
}

void Socket::abort()
{
    shutdown(fd_.get(), SHUT_RDWR);
}

Error Socket::failure(int errno_value) const
{
    if (tls_ && errno_value == EPROTO)
        return {ErrorKind::Connection, "the encrypted connection broke: " + tls_->problem(), {}};
    return connection_error(errno_value);
}

bool Socket::is_local() const
{
    int domain = 0;
    socklen_t size = sizeof domain;
    return !tls_ && getsockopt(fd_.get(), SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0 &&
           domain == AF_UNIX;
}

std::string Socket::encryption() const
{
    return tls_ ? tls_->words() : std::string();
}

} // namespace drover
