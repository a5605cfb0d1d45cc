// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "util/fd.h"
#include "util/result.h"

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <sys/types.h>
#include <sys/uio.h>

namespace drover {

class TlsSession;

/// A connected stream socket, in the clear or inside TLS. Move-only. One thread may receive while
/// another sends.
class Socket {
public:
    Socket();
    Socket(UniqueFd plain); // NOLINT(google-explicit-constructor): in the clear it is no more
    Socket(UniqueFd fd, std::unique_ptr<TlsSession> tls); ///< after its handshake
    ~Socket();
    Socket(Socket&& other) noexcept;
    Socket& operator=(Socket&& other) noexcept;
    Socket(const Socket&) = delete;
    Socket& operator=(const Socket&) = delete;

    [[nodiscard]] explicit operator bool() const { return static_cast<bool>(fd_); }
    [[nodiscard]] int fd() const { return fd_.get(); } ///< to watch, and to ask about
    void reset();

    enum class Wait : bool { No, Yes };

    /// As recv(2): the number of bytes that came, at least one; 0: the peer ended what it sends, in
    /// order (inside TLS a connection that only ends is an error, since anybody can end it); -1:
    /// see errno (EAGAIN: nothing yet) and failure().
    [[nodiscard]] ssize_t receive(std::span<std::byte> into, Wait wait);

    /// As sendmsg(2): the number of bytes that were taken, of the first pieces; -1: see errno and
    /// failure(). After EAGAIN the next call must begin with the same bytes. At most 1,024 pieces,
    /// the first of which is not empty.
    [[nodiscard]] ssize_t send(std::span<const iovec> pieces, Wait wait);

    /// Bytes have come that watching the descriptor does not tell of.
    [[nodiscard]] bool has_received() const;

    /// Nothing more is sent; the peer learns that it has all.
    void end_sending();
    /// Lets calls of other threads return, now and later. Any thread.
    void abort();

    /// Why receive() or send() failed: kind Connection.
    [[nodiscard]] Error failure(int errno_value) const;
    /// Within this host, and in the clear: nothing gets lost on its way, nobody can end it but its
    /// two ends.
    [[nodiscard]] bool is_local() const;
    /// The version and cipher of TLS, in words; empty: in the clear.
    [[nodiscard]] std::string encryption() const;

private:
    UniqueFd fd_;
    std::unique_ptr<TlsSession> tls_;
};

} // namespace drover
