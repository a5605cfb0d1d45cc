// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/transport/tls_error.h"
#include "migration/transport/tls_kinds.h"

namespace drover {

namespace {

constexpr const char* usual_priority = "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2";
constexpr const char* with_shared_keys = ":+ECDHE-PSK:+DHE-PSK:+PSK";

Result<TlsPriority> read_priority(const TlsWords& words)
{
    std::string text = words.priority.empty() ? usual_priority : words.priority;
    if (words.kind == TlsWords::Kind::Psk)
        text += with_shared_keys;
    gnutls_priority_t priority = nullptr;
    if (const int code = gnutls_priority_init(&priority, text.c_str(), nullptr); code < 0)
        return fail(ErrorKind::Invalid, "the TLS priority \"" + text + "\": " + tls_words(code),
                    "see GnuTLS's manual, \"Priority strings\", or leave it out");
    return TlsPriority(priority);
}

/// Whether the list of those who may come in could be kept.
Status check_authorization(const TlsWords& words)
{
    if (!words.authorize)
        return {};
    if (words.kind == TlsWords::Kind::Psk)
        return fail(ErrorKind::Invalid,
                    "tls-authz names who may come by the names in "
                    "certificates, and shared keys have none",
                    "leave tls-authz empty, or use certificates (tls-creds-x509)");
    if (!words.verify_peer)
        return fail(ErrorKind::Invalid,
                    "tls-authz names who may come by the names in "
                    "certificates, at which nobody looks",
                    "give the tls-creds-x509 verify-peer=on");
    return {};
}

} // namespace

std::string tls_words(int code)
{
    return gnutls_strerror(code);
}

std::unexpected<Error> tls_failed(const std::string& what, int code)
{
    return fail(ErrorKind::Connection, what + " failed: " + tls_words(code));
}

std::unexpected<Error> tls_file_failed(const std::string& file, int code)
{
    return fail(ErrorKind::Invalid, "the TLS file " + file + ": " + tls_words(code),
                "files and their names are those of QEMU's TLS setup");
}

void FreeTlsPriority::operator()(gnutls_priority_t priority) const
{
    gnutls_priority_deinit(priority);
}

Status TlsCredentials::equip(gnutls_session_t session) const
{
    int code = gnutls_priority_set(session, priority_.get());
    if (code >= 0)
        code = provide(session);
    return code < 0 ? tls_failed("preparing a TLS handshake", code) : Status();
}

Result<SharedTlsCredentials> TlsCredentials::load(TlsWords words)
{
    if (Status can = check_authorization(words); !can)
        return pass(can);
    auto priority = read_priority(words);
    if (!priority)
        return pass(priority);
    return words.kind == TlsWords::Kind::X509 ? load_x509(std::move(words), std::move(*priority))
                                              : load_psk(std::move(words), std::move(*priority));
}

} // namespace drover
