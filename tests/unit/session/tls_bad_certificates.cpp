// SPDX-License-Identifier: GPL-2.0-or-later
#include "tls_bad_certificates.h"

#include <array>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <gnutls/x509.h>
#include <gtest/gtest.h>
#include <iterator>
#include <memory>
#include <span>

namespace drover::testing {

namespace {

constexpr time_t day = 24 * 60 * 60; // seconds

struct Free {
    void operator()(gnutls_x509_crt_t certificate) const { gnutls_x509_crt_deinit(certificate); }
    void operator()(gnutls_x509_crl_t list) const { gnutls_x509_crl_deinit(list); }
    void operator()(gnutls_x509_privkey_t key) const { gnutls_x509_privkey_deinit(key); }
};
template <typename T> using Owned = std::unique_ptr<std::remove_pointer_t<T>, Free>;
using Certificate = Owned<gnutls_x509_crt_t>;
using Key = Owned<gnutls_x509_privkey_t>;

void expect_done(int code)
{
    EXPECT_GE(code, 0) << gnutls_strerror(code);
}

std::string read(const std::string& file)
{
    std::ifstream in(file, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
}

gnutls_datum_t datum(std::string& text)
{
    return {reinterpret_cast<unsigned char*>(text.data()), static_cast<unsigned>(text.size())};
}

Certificate certificate_in(const std::string& file)
{
    std::string text = read(file);
    const gnutls_datum_t pem = datum(text);
    gnutls_x509_crt_t raw = nullptr;
    expect_done(gnutls_x509_crt_init(&raw));
    Certificate certificate(raw);
    expect_done(gnutls_x509_crt_import(raw, &pem, GNUTLS_X509_FMT_PEM));
    return certificate;
}

Key key_in(const std::string& file)
{
    std::string text = read(file);
    const gnutls_datum_t pem = datum(text);
    gnutls_x509_privkey_t raw = nullptr;
    expect_done(gnutls_x509_privkey_init(&raw));
    Key key(raw);
    expect_done(gnutls_x509_privkey_import2(raw, &pem, GNUTLS_X509_FMT_PEM, nullptr, 0));
    return key;
}

void write(const std::string& file, gnutls_datum_t& pem)
{
    std::filesystem::remove(file); // a copy may be of a file that nobody may write to
    std::ofstream(file, std::ios::binary)
        << std::string(reinterpret_cast<char*>(pem.data), pem.size);
    gnutls_free(pem.data);
}

} // namespace

void let_expire(const std::string& certificate, const std::string& authority)
{
    const Certificate ended = certificate_in(certificate),
                      ca = certificate_in(authority + "/ca.crt");
    const Key key = key_in(authority + "/ca.key");
    const time_t now = time(nullptr);
    expect_done(gnutls_x509_crt_set_activation_time(ended.get(), now - 3 * day));
    expect_done(gnutls_x509_crt_set_expiration_time(ended.get(), now - day));
    expect_done(gnutls_x509_crt_sign2(ended.get(), ca.get(), key.get(), GNUTLS_DIG_SHA256, 0));
    gnutls_datum_t pem{};
    expect_done(gnutls_x509_crt_export2(ended.get(), GNUTLS_X509_FMT_PEM, &pem));
    write(certificate, pem);
}

void revoke(const std::string& certificate, const std::string& authority, const std::string& list)
{
    const Certificate bad = certificate_in(certificate), ca = certificate_in(authority + "/ca.crt");
    const Key key = key_in(authority + "/ca.key");
    const time_t now = time(nullptr);
    gnutls_x509_crl_t raw = nullptr;
    expect_done(gnutls_x509_crl_init(&raw));
    const Owned<gnutls_x509_crl_t> revoked(raw);
    expect_done(gnutls_x509_crl_set_version(raw, 1));
    expect_done(gnutls_x509_crl_set_this_update(raw, now - day));
    expect_done(gnutls_x509_crl_set_next_update(raw, now + day));
    expect_done(gnutls_x509_crl_set_crt(raw, bad.get(), now - day));
    expect_done(gnutls_x509_crl_sign2(raw, ca.get(), key.get(), GNUTLS_DIG_SHA256, 0));
    gnutls_datum_t pem{};
    expect_done(gnutls_x509_crl_export2(raw, GNUTLS_X509_FMT_PEM, &pem));
    write(list, pem);
}

} // namespace drover::testing
