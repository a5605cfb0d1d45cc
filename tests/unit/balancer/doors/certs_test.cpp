// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/doors/gio.h"
#include "contrib/balancer/doors/key_purpose.h"
#include "tests/unit/balancer/doors/fleet_certs.h"
#include "util/fd.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

namespace drover::balancer::testing {
namespace {

mode_t mode_of(const std::string& path)
{
    struct stat status = {};
    return stat(path.c_str(), &status) == 0 ? status.st_mode & 0777 : 0;
}

TEST(DroverCerts, KeysAreOurOwn)
{
    const std::string& path = FleetCerts::get().directory();
    for (const char* name : {"/ca.key", "/node1.key", "/anna.key"})
        EXPECT_EQ(mode_of(path + name), 0600U) << name;
    for (const char* name : {"/ca.crt", "/node1.crt"})
        EXPECT_EQ(mode_of(path + name), 0644U) << name;
}

TEST(DroverCerts, AKeyIsNeverReplaced)
{
    const TemporaryDirectory fleet;
    ASSERT_EQ(drover_certs({"init", fleet.path()}).code, 0);
    ASSERT_EQ(drover_certs({"host", fleet.path(), "node1"}).code, 0);
    const auto authority = read_file(fleet / "ca.key"), node = read_file(fleet / "node1.key");
    for (const auto& words :
         std::vector<std::vector<std::string>>{{"init", fleet.path()},
                                               {"host", fleet.path(), "node1", "10.0.0.1"},
                                               {"person", fleet.path(), "node1", "administer"}}) {
        const RunResult result = drover_certs(words);
        EXPECT_EQ(result.code, 1);
        EXPECT_NE(result.out.find("is not replaced"), std::string::npos) << result.out;
    }
    EXPECT_EQ(*authority, *read_file(fleet / "ca.key"));
    EXPECT_EQ(*node, *read_file(fleet / "node1.key"));
}

TEST(DroverCerts, RenewKeepsKeyNamesAndRole)
{
    const TemporaryDirectory fleet;
    ASSERT_EQ(drover_certs({"init", fleet.path()}).code, 0);
    ASSERT_EQ(drover_certs({"host", fleet.path(), "node1", "10.0.0.1", "fe80::1", "n1.example",
                            "--role", "operate"})
                  .code,
              0);
    const auto facts = [&] {
        return run({"openssl", "x509", "-in", fleet / "node1.crt", "-noout", "-subject", "-ext",
                    "subjectAltName,extendedKeyUsage", "-pubkey"})
            .out;
    };
    const std::string before = facts();
    EXPECT_NE(before.find("OU = operate"), std::string::npos) << before;
    EXPECT_NE(before.find("DNS:node1, IP Address:10.0.0.1, IP Address:FE80:0:0:0:0:0:0:1, "
                          "DNS:n1.example"),
              std::string::npos)
        << before;
    const auto old = read_file(fleet / "node1.crt");
    ASSERT_EQ(drover_certs({"renew", fleet.path(), "node1", "--days", "9"}).code, 0);
    EXPECT_EQ(facts(), before);
    EXPECT_NE(*old, *read_file(fleet / "node1.crt"));
    EXPECT_EQ(run({"openssl", "verify", "-CAfile", fleet / "ca.crt", fleet / "node1.crt"}).code, 0);
}

TEST(DroverCerts, WrongWordsAreUsageErrors)
{
    const TemporaryDirectory fleet;
    ASSERT_EQ(drover_certs({"init", fleet.path()}).code, 0);
    for (const auto& words : std::vector<std::vector<std::string>>{
             {"person", fleet.path(), "x", "king"},
             {"person", fleet.path(), "x/OU=administer", "observe"},
             {"person", fleet.path(), "../x", "observe"},
             {"person", fleet.path(), "ca", "observe"},
             {"person", fleet.path(), "x"},
             {"host", fleet.path(), "n1", "a,DNS:b"},
             {"host", fleet.path(), "n1", "--role", "king"},
             {"host", fleet.path(), "n1", "--days", "-1"},
             {"host", fleet.path(), "n1", "--days"},
             {"fly"}}) {
        const RunResult result = drover_certs(words);
        EXPECT_EQ(result.code, 2) << words.back() << ": " << result.out;
    }
    EXPECT_EQ(drover_certs({"host", fleet / "nowhere", "n1"}).code, 1);
    EXPECT_EQ(mode_of(fleet / "n1.key"), 0U) << "nothing is left behind";
    EXPECT_EQ(drover_certs({"--help"}).code, 0);
}

std::vector<unsigned char> der_of(const std::string& path)
{
    const Ref<GTlsCertificate> certificate(g_tls_certificate_new_from_file(path.c_str(), nullptr));
    GByteArray* der = nullptr;
    g_object_get(certificate.get(), "certificate", &der, nullptr);
    std::vector<unsigned char> bytes(der->data, der->data + der->len);
    g_byte_array_unref(der);
    return bytes;
}

TEST(KeyPurpose, IsWhatTheCertificateNames)
{
    const std::string& path = FleetCerts::get().directory();
    const auto uses = [&](const char* name) {
        const auto der = der_of(path + "/" + name + ".crt");
        return std::pair(has_purpose(der, KeyPurpose::Server),
                         has_purpose(der, KeyPurpose::Client));
    };
    EXPECT_EQ(uses("node1"), std::pair(true, true));
    EXPECT_EQ(uses("olga"), std::pair(false, true));
    EXPECT_EQ(uses("server-only"), std::pair(true, false));
    EXPECT_EQ(uses("no-purpose"), std::pair(false, false));
    EXPECT_EQ(uses("ca"), std::pair(false, false));
}

TEST(KeyPurpose, SurvivesAnyBytes)
{
    const auto der = der_of(FleetCerts::get().directory() + "/node1.crt");
    for (size_t size = 0; size < der.size(); ++size) {
        // A copy of its own, so that a sanitizer sees a read behind its end.
        const std::vector<unsigned char> cut(der.begin(), der.begin() + static_cast<long>(size));
        EXPECT_FALSE(has_purpose(cut, KeyPurpose::Server)) << size;
    }
    for (size_t i = 0; i < der.size(); ++i) {
        auto bent = der;
        for (const unsigned char value : {0x00, 0x7f, 0x80, 0x84, 0xff}) {
            bent[i] = value;
            (void)has_purpose(bent, KeyPurpose::Client);
        }
    }
}

} // namespace
} // namespace drover::balancer::testing
