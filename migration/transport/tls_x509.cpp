// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/transport/tls_kinds.h"

#include "migration/transport/tls_error.h"

#include <array>
#include <gnutls/x509.h>
#include <unistd.h>

namespace drover {

namespace {

/// By certificates of one authority.
class X509Credentials : public TlsCredentials {
public:
    using TlsCredentials::TlsCredentials;
    ~X509Credentials() override
    {
        if (files_)
            gnutls_certificate_free_credentials(files_);
    }
    X509Credentials(const X509Credentials&) = delete;
    X509Credentials& operator=(const X509Credentials&) = delete;

    [[nodiscard]] Status read_files();
    [[nodiscard]] Status verify(gnutls_session_t session) const override;

private:
    [[nodiscard]] int provide(gnutls_session_t session) const override;
    [[nodiscard]] bool is_server() const { return endpoint() == TlsWords::Endpoint::Server; }
    [[nodiscard]] Status read_authority();
    [[nodiscard]] Status read_identity();
    [[nodiscard]] Status authorize(gnutls_session_t session) const;

    gnutls_certificate_credentials_t files_ = nullptr;
};

Status X509Credentials::read_authority()
{
    const std::string authority = words_.dir + "/ca-cert.pem";
    if (const int code =
            gnutls_certificate_set_x509_trust_file(files_, authority.c_str(), GNUTLS_X509_FMT_PEM);
        code < 1)
        return tls_file_failed(authority, code == 0 ? GNUTLS_E_NO_CERTIFICATE_FOUND : code);
    const std::string revoked = words_.dir + "/ca-crl.pem";
    if (access(revoked.c_str(), F_OK) < 0)
        return {};
    if (const int code =
            gnutls_certificate_set_x509_crl_file(files_, revoked.c_str(), GNUTLS_X509_FMT_PEM);
        code < 0)
        return tls_file_failed(revoked, code);
    return {};
}

/// A source need have none, where the destination demands none.
Status X509Credentials::read_identity()
{
    const std::string name = words_.dir + (is_server() ? "/server" : "/client");
    const std::string certificate = name + "-cert.pem", key = name + "-key.pem";
    if (!is_server() && access(certificate.c_str(), F_OK) < 0 && access(key.c_str(), F_OK) < 0)
        return {};
    for (const std::string& file : {certificate, key})
        if (access(file.c_str(), R_OK) < 0)
            return tls_file_failed(file, GNUTLS_E_FILE_ERROR);
    if (const int code = gnutls_certificate_set_x509_key_file(files_, certificate.c_str(),
                                                              key.c_str(), GNUTLS_X509_FMT_PEM);
        code < 0)
        return tls_file_failed(certificate + " and " + key, code);
    return {};
}

Status X509Credentials::read_files()
{
    if (const int code = gnutls_certificate_allocate_credentials(&files_); code < 0)
        return tls_failed("making TLS credentials", code);
    if (Status read = read_authority(); !read)
        return read;
    return read_identity();
}

int X509Credentials::provide(gnutls_session_t session) const
{
    if (is_server())
        gnutls_certificate_server_set_request(session, words_.verify_peer ? GNUTLS_CERT_REQUIRE
                                                                          : GNUTLS_CERT_IGNORE);
    else if (!words_.hostname.empty()) // of use to a server with several names; says nothing secret
        (void)gnutls_server_name_set(session, GNUTLS_NAME_DNS, words_.hostname.c_str(),
                                     words_.hostname.size());
    return gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, files_);
}

Status X509Credentials::verify(gnutls_session_t session) const
{
    if (!words_.verify_peer)
        return {};
    if (!is_server() && words_.hostname.empty())
        return fail(ErrorKind::Invalid,
                    "there is no name to look for in the destination's "
                    "certificate",
                    "set the migration parameter tls-hostname");
    std::array<gnutls_typed_vdata_st, 2> demands{};
    const char* purpose = is_server() ? GNUTLS_KP_TLS_WWW_CLIENT : GNUTLS_KP_TLS_WWW_SERVER;
    demands[0].type = GNUTLS_DT_KEY_PURPOSE_OID;
    demands[0].data = reinterpret_cast<unsigned char*>(const_cast<char*>(purpose));
    demands[1].type = GNUTLS_DT_DNS_HOSTNAME; // or an address in figures
    demands[1].data = reinterpret_cast<unsigned char*>(const_cast<char*>(words_.hostname.c_str()));
    unsigned problems = 0;
    if (const int code = gnutls_certificate_verify_peers(session, demands.data(),
                                                         is_server() ? 1 : 2, &problems);
        code < 0)
        return tls_failed("looking at the peer's certificate", code);
    if (problems != 0) {
        gnutls_datum_t text{};
        std::string why = "it is not valid";
        if (gnutls_certificate_verification_status_print(problems, GNUTLS_CRT_X509, &text, 0) >= 0)
            why.assign(reinterpret_cast<char*>(text.data), text.size);
        gnutls_free(text.data);
        return fail(ErrorKind::Refused, "the peer's certificate is refused: " + why,
                    is_server() ? "" : "expected was the name " + words_.hostname);
    }
    return words_.authorize ? authorize(session) : Status();
}

struct FreeCertificate {
    void operator()(gnutls_x509_crt_t certificate) const { gnutls_x509_crt_deinit(certificate); }
};

Status X509Credentials::authorize(gnutls_session_t session) const
{
    unsigned count = 0;
    const gnutls_datum_t* chain = gnutls_certificate_get_peers(session, &count);
    gnutls_x509_crt_t raw = nullptr;
    if (!chain || count == 0 || gnutls_x509_crt_init(&raw) < 0)
        return fail(ErrorKind::Refused, "the peer has no certificate");
    const std::unique_ptr<std::remove_pointer_t<gnutls_x509_crt_t>, FreeCertificate> certificate(
        raw);
    gnutls_datum_t name{};
    int code = gnutls_x509_crt_import(raw, &chain[0], GNUTLS_X509_FMT_DER);
    if (code >= 0)
        code = gnutls_x509_crt_get_dn2(raw, &name);
    if (code < 0)
        return tls_failed("reading the name in the peer's certificate", code);
    const std::string distinguished(reinterpret_cast<char*>(name.data), name.size);
    gnutls_free(name.data);
    return words_.authorize(distinguished);
}

} // namespace

Result<SharedTlsCredentials> load_x509(TlsWords words, TlsPriority priority)
{
    auto credentials = std::make_shared<X509Credentials>(std::move(words), std::move(priority));
    if (Status read = credentials->read_files(); !read)
        return pass(read);
    return credentials;
}

} // namespace drover
