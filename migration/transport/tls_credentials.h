// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "util/result.h"

#include <functional>
#include <memory>
#include <string>

using gnutls_session_t = struct gnutls_session_int*;
using gnutls_priority_t = struct gnutls_priority_st*;

namespace drover {

/// How a side of a migration proves who it is, and what it demands of the other: QEMU's objects
/// tls-creds-x509 and tls-creds-psk, and its migration parameters tls-hostname and tls-authz. The
/// meaning of each member, and the names of files, are theirs (QEMU's system manual, "TLS setup for
/// network services").
struct TlsWords {
    enum class Kind { X509, Psk };
    enum class Endpoint { Client, Server }; ///< the source; the destination

    Kind kind = Kind::X509;
    Endpoint endpoint = Endpoint::Client;
    /// X509: ca-cert.pem, ca-crl.pem (if there is one), server-cert.pem and server-key.pem, or
    /// client-cert.pem and client-key.pem (if there are any). Psk: keys.psk.
    std::string dir;
    std::string priority;    ///< GnuTLS's; empty: TLS 1.2 and 1.3 as GnuTLS thinks best
    std::string username;    ///< Psk, client: whose key; empty: "qemu"
    bool verify_peer = true; ///< X509: whoever has no certificate of this CA is a stranger
    std::string hostname;    ///< X509, client: what the other's certificate must name
    /// X509, server: whether a peer with this distinguished name may come in. Empty: whoever has a
    /// certificate.
    std::function<Status(const std::string& distinguished_name)> authorize;
};

struct FreeTlsPriority {
    void operator()(gnutls_priority_t priority) const;
};
using TlsPriority = std::unique_ptr<struct gnutls_priority_st, FreeTlsPriority>;

/// The same, its files read: what changes in them later counts for the next load(). Immutable, so
/// that connections of all threads may share it.
class TlsCredentials {
public:
    /// Errors (kind Invalid) name the file, and what to do about it.
    [[nodiscard]] static Result<std::shared_ptr<const TlsCredentials>> load(TlsWords words);

    TlsCredentials(TlsWords words, TlsPriority priority)
        : words_(std::move(words)), priority_(std::move(priority))
    {
    }
    virtual ~TlsCredentials() = default;

    [[nodiscard]] TlsWords::Endpoint endpoint() const { return words_.endpoint; }

    /// Before a handshake. `session` must not outlive this.
    [[nodiscard]] Status equip(gnutls_session_t session) const;
    /// After it: whether the peer is one that is let in.
    [[nodiscard]] virtual Status verify(gnutls_session_t session) const = 0;

protected:
    /// What is the kind's own of equip(); a code of GnuTLS's.
    [[nodiscard]] virtual int provide(gnutls_session_t session) const = 0;

    TlsWords words_;

private:
    TlsPriority priority_;
};

using SharedTlsCredentials = std::shared_ptr<const TlsCredentials>;

} // namespace drover
