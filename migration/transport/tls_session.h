// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/transport/tls_credentials.h"
#include "util/result.h"

#include <array>
#include <atomic>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <sys/types.h>
#include <sys/uio.h>

namespace drover {

/// TLS over a connected socket, which must outlive it. After the handshake one thread may receive
/// while another sends.
class TlsSession {
public:
    [[nodiscard]] static Result<std::unique_ptr<TlsSession>>
    begin(int fd, SharedTlsCredentials credentials);
    ~TlsSession();
    TlsSession(const TlsSession&) = delete;
    TlsSession& operator=(const TlsSession&) = delete;

    enum class Step { Done, Receive, Send }; ///< done; or once the socket can do that, again
    /// Goes on with the handshake as far as it gets without waiting. Once it is done the peer is
    /// one that the credentials let in.
    [[nodiscard]] Result<Step> shake_hands();

    /// See Socket's functions of the same names. What fails by what the peer sent has errno EPROTO,
    /// and problem() says more.
    [[nodiscard]] ssize_t receive(std::span<std::byte> into, bool wait);
    [[nodiscard]] ssize_t send(std::span<const iovec> pieces, bool wait);
    [[nodiscard]] bool has_received() const;
    void end_sending();

    [[nodiscard]] std::string problem() const;
    [[nodiscard]] std::string words() const; ///< such as "TLS 1.3, AES-256-GCM"

private:
    static constexpr size_t largest_record = 16 << 10; // RFC 8446, 5.1

    TlsSession(int fd, SharedTlsCredentials credentials);
    [[nodiscard]] ssize_t result(ssize_t code);
    [[nodiscard]] std::span<const std::byte> next_record(std::span<const iovec> pieces);

    static ssize_t push(void* self, const iovec* pieces, int count);
    static ssize_t pull(void* self, void* into, size_t size);
    static int wait_to_pull(void* self, unsigned milliseconds);

    const int fd_;
    const SharedTlsCredentials credentials_;
    gnutls_session_t session_ = nullptr;
    // What send() and receive() were called with; each is one thread's.
    bool sending_waits_ = false;
    bool receiving_waits_ = false;
    bool record_unsent_ = false; ///< GnuTLS has one that the socket did not take whole
    std::array<std::byte, largest_record> gathered_{};
    std::atomic<int> problem_{0};
};

} // namespace drover
