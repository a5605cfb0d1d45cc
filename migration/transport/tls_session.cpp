// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/transport/tls_session.h"

#include "migration/transport/tls_error.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <gnutls/gnutls.h>
#include <poll.h>
#include <sys/socket.h>

namespace drover {

TlsSession::TlsSession(int fd, SharedTlsCredentials credentials)
    : fd_(fd), credentials_(std::move(credentials))
{
}

TlsSession::~TlsSession()
{
    if (session_)
        gnutls_deinit(session_);
}

Result<std::unique_ptr<TlsSession>> TlsSession::begin(int fd, SharedTlsCredentials credentials)
{
    const bool server = credentials->endpoint() == TlsWords::Endpoint::Server;
    std::unique_ptr<TlsSession> tls(new TlsSession(fd, std::move(credentials)));
    // No session is taken up again: each connection proves anew who it is.
    const unsigned flags = GNUTLS_NO_TICKETS | GNUTLS_NO_SIGNAL | GNUTLS_NONBLOCK;
    if (const int code =
            gnutls_init(&tls->session_, flags | (server ? GNUTLS_SERVER : GNUTLS_CLIENT));
        code < 0)
        return tls_failed("beginning TLS", code);
    if (Status equipped = tls->credentials_->equip(tls->session_); !equipped)
        return pass(equipped);
    gnutls_transport_set_ptr(tls->session_, tls.get());
    gnutls_transport_set_vec_push_function(tls->session_, &TlsSession::push);
    gnutls_transport_set_pull_function(tls->session_, &TlsSession::pull);
    gnutls_transport_set_pull_timeout_function(tls->session_, &TlsSession::wait_to_pull);
    return tls;
}

// Called by GnuTLS, on the thread that called us.

ssize_t TlsSession::push(void* self, const iovec* pieces, int count)
{
    const auto& tls = *static_cast<TlsSession*>(self);
    msghdr message{};
    message.msg_iov = const_cast<iovec*>(pieces); // which sendmsg() does not change
    message.msg_iovlen = static_cast<size_t>(count);
    const ssize_t sent =
        sendmsg(tls.fd_, &message, MSG_NOSIGNAL | (tls.sending_waits_ ? 0 : MSG_DONTWAIT));
    if (sent < 0)
        gnutls_transport_set_errno(tls.session_, errno);
    return sent;
}

ssize_t TlsSession::pull(void* self, void* into, size_t size)
{
    const auto& tls = *static_cast<TlsSession*>(self);
    const ssize_t received = recv(tls.fd_, into, size, tls.receiving_waits_ ? 0 : MSG_DONTWAIT);
    if (received < 0)
        gnutls_transport_set_errno(tls.session_, errno);
    return received;
}

int TlsSession::wait_to_pull(void* self, unsigned milliseconds)
{
    pollfd waiting{static_cast<TlsSession*>(self)->fd_, POLLIN, 0};
    return poll(&waiting, 1,
                milliseconds == GNUTLS_INDEFINITE_TIMEOUT ? -1 : static_cast<int>(milliseconds));
}

Result<TlsSession::Step> TlsSession::shake_hands()
{
    for (;;) {
        const int code = gnutls_handshake(session_);
        if (code == GNUTLS_E_SUCCESS)
            break;
        if (code == GNUTLS_E_AGAIN)
            return gnutls_record_get_direction(session_) == 0 ? Step::Receive : Step::Send;
        if (gnutls_error_is_fatal(code) == 0)
            continue;
        std::string why = tls_words(code);
        if (code == GNUTLS_E_FATAL_ALERT_RECEIVED)
            why =
                std::string("the peer says: ") + gnutls_alert_get_name(gnutls_alert_get(session_));
        return fail(ErrorKind::Connection, "the TLS handshake failed: " + why);
    }
    if (Status welcome = credentials_->verify(session_); !welcome)
        return pass(welcome);
    return Step::Done;
}

/// A number of bytes, or -1 with errno, of GnuTLS's code.
ssize_t TlsSession::result(ssize_t code)
{
    if (code >= 0)
        return code;
    if (code == GNUTLS_E_AGAIN || code == GNUTLS_E_INTERRUPTED) {
        errno = code == GNUTLS_E_AGAIN ? EAGAIN : EINTR;
        return -1;
    }
    const int reason = errno;
    problem_ = static_cast<int>(code);
    if (code == GNUTLS_E_PREMATURE_TERMINATION) // anybody on the way can do that
        errno = ECONNRESET;
    else if (code != GNUTLS_E_PUSH_ERROR && code != GNUTLS_E_PULL_ERROR)
        errno = EPROTO;
    else // the socket's own failures are told as those of one in the clear
        errno = reason == 0 || reason == EAGAIN ? ECONNRESET : reason;
    return -1;
}

ssize_t TlsSession::receive(std::span<std::byte> into, bool wait)
{
    receiving_waits_ = wait;
    return result(gnutls_record_recv(session_, into.data(), into.size()));
}

/// A record costs a system call and some twenty bytes: small pieces are put together.
std::span<const std::byte> TlsSession::next_record(std::span<const iovec> pieces)
{
    const auto bytes = [](const iovec& piece) {
        return std::span(static_cast<const std::byte*>(piece.iov_base), piece.iov_len);
    };
    if (pieces.front().iov_len >= largest_record || pieces.size() == 1)
        return bytes(pieces.front()).first(std::min(pieces.front().iov_len, largest_record));
    size_t filled = 0;
    for (const iovec& piece : pieces) {
        const auto part = bytes(piece).first(std::min(piece.iov_len, largest_record - filled));
        std::copy(part.begin(), part.end(), gathered_.begin() + static_cast<ptrdiff_t>(filled));
        filled += part.size();
        if (filled == largest_record)
            break;
    }
    return std::span(gathered_).first(filled);
}

ssize_t TlsSession::send(std::span<const iovec> pieces, bool wait)
{
    sending_waits_ = wait;
    // GnuTLS keeps a record that was not taken whole, and wants to be asked for that alone.
    std::span<const std::byte> record;
    if (!record_unsent_)
        record = next_record(pieces);
    const ssize_t sent = result(gnutls_record_send(
        session_, record_unsent_ ? nullptr : record.data(), record_unsent_ ? 0 : record.size()));
    record_unsent_ = sent < 0 && (errno == EAGAIN || errno == EINTR);
    return sent;
}

bool TlsSession::has_received() const
{
    return gnutls_record_check_pending(session_) > 0;
}

void TlsSession::end_sending()
{
    sending_waits_ = false;
    (void)gnutls_bye(session_, GNUTLS_SHUT_WR); // if it does not fit, the peer sees a broken link
}

std::string TlsSession::problem() const
{
    return tls_words(problem_);
}

std::string TlsSession::words() const
{
    std::string version = gnutls_protocol_get_name(gnutls_protocol_get_version(session_));
    if (version.starts_with("TLS"))
        version = "TLS " + version.substr(3);
    return version + ", " + gnutls_cipher_get_name(gnutls_cipher_get(session_));
}

} // namespace drover
