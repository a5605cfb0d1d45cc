// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/transport/tls_kinds.h"

#include "migration/transport/tls_error.h"
#include "util/fd.h"

#include <algorithm>
#include <string_view>
#include <unistd.h>

namespace drover {

namespace {

constexpr size_t max_key_file = 1 << 20;

/// By a key that both sides have.
class PskCredentials : public TlsCredentials {
public:
    using TlsCredentials::TlsCredentials;
    ~PskCredentials() override
    {
        if (server_)
            gnutls_psk_free_server_credentials(server_);
        if (client_)
            gnutls_psk_free_client_credentials(client_);
    }
    PskCredentials(const PskCredentials&) = delete;
    PskCredentials& operator=(const PskCredentials&) = delete;

    [[nodiscard]] Status read_files();
    /// Who does not have the key does not get through the handshake.
    [[nodiscard]] Status verify(gnutls_session_t) const override { return {}; }

private:
    [[nodiscard]] int provide(gnutls_session_t session) const override;
    [[nodiscard]] Status read_key(const std::string& file);

    gnutls_psk_server_credentials_t server_ = nullptr;
    gnutls_psk_client_credentials_t client_ = nullptr;
};

/// Finds the user's line, "NAME:KEY" with the key in hexadecimal digits.
Status PskCredentials::read_key(const std::string& file)
{
    auto text = read_file(file, max_key_file);
    if (!text)
        return pass(text);
    const std::string user = words_.username.empty() ? "qemu" : words_.username;
    for (std::string_view rest = *text; !rest.empty();) {
        std::string_view line = rest.substr(0, rest.find('\n'));
        rest.remove_prefix(std::min(line.size() + 1, rest.size()));
        if (!line.starts_with(user + ":"))
            continue;
        std::string key(line.substr(user.size() + 1));
        const gnutls_datum_t datum{reinterpret_cast<unsigned char*>(key.data()),
                                   static_cast<unsigned>(key.size())};
        const int code =
            gnutls_psk_set_client_credentials(client_, user.c_str(), &datum, GNUTLS_PSK_KEY_HEX);
        gnutls_memset(key.data(), 0, key.size());
        gnutls_memset(text->data(), 0, text->size());
        return code < 0 ? tls_file_failed(file, code) : Status();
    }
    return fail(ErrorKind::Invalid, "the TLS file " + file + " has no key of \"" + user + "\"",
                "make one by psktool -u " + user + " -p " + file);
}

Status PskCredentials::read_files()
{
    const std::string file = words_.dir + "/keys.psk";
    if (access(file.c_str(), R_OK) < 0)
        return tls_file_failed(file, GNUTLS_E_FILE_ERROR);
    if (endpoint() == TlsWords::Endpoint::Client) {
        if (const int code = gnutls_psk_allocate_client_credentials(&client_); code < 0)
            return tls_failed("making TLS credentials", code);
        return read_key(file);
    }
    int code = gnutls_psk_allocate_server_credentials(&server_);
    if (code >= 0)
        code = gnutls_psk_set_server_credentials_file(server_, file.c_str());
    return code < 0 ? tls_file_failed(file, code) : Status();
}

int PskCredentials::provide(gnutls_session_t session) const
{
    return server_ ? gnutls_credentials_set(session, GNUTLS_CRD_PSK, server_)
                   : gnutls_credentials_set(session, GNUTLS_CRD_PSK, client_);
}

} // namespace

Result<SharedTlsCredentials> load_psk(TlsWords words, TlsPriority priority)
{
    auto credentials = std::make_shared<PskCredentials>(std::move(words), std::move(priority));
    if (Status read = credentials->read_files(); !read)
        return pass(read);
    return credentials;
}

} // namespace drover
