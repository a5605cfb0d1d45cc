// SPDX-License-Identifier: GPL-2.0-or-later
#include "tests/unit/balancer/doors/fleet_certs.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <sys/wait.h>

namespace drover::balancer::testing {

namespace {

void check(const RunResult& result)
{
    EXPECT_EQ(result.code, 0) << result.out;
}

} // namespace

void FleetCerts::make(const std::string& directory, const std::string& name,
                      const std::string& subject, const std::string& extensions, int days)
{
    const std::string base = directory + "/" + name;
    std::ofstream(base + ".ext") << extensions;
    check(run({"openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
               "-nodes", "-keyout", base + ".key", "-subj", subject, "-utf8", "-out",
               base + ".csr"}));
    check(run({"openssl", "x509", "-req", "-in", base + ".csr", "-CA", directory + "/ca.crt",
               "-CAkey", directory + "/ca.key", "-set_serial", "0x1234", "-days",
               std::to_string(days), "-extfile", base + ".ext", "-out", base + ".crt"}));
    std::filesystem::permissions(base + ".key", std::filesystem::perms::owner_read);
}

FleetCerts::FleetCerts()
{
    const std::string& path = directory_.path();
    check(drover_certs({"init", path}));
    check(drover_certs({"host", path, "node1", "localhost", "127.0.0.1"}));
    check(drover_certs({"host", path, "elsewhere", "192.0.2.7"}));
    check(drover_certs({"person", path, "olga", "observe"}));
    check(drover_certs({"person", path, "oscar", "operate"}));
    check(drover_certs({"person", path, "anna", "administer"}));
    const std::string client = "extendedKeyUsage = clientAuth\n";
    const std::string localhost = "subjectAltName = DNS:localhost, IP:127.0.0.1\n";
    make(path, "late", "/OU=administer/CN=late", client, -1);
    make(path, "late-host", "/CN=late-host", "extendedKeyUsage = serverAuth\n" + localhost, -1);
    make(path, "eve", "/CN=eve,OU=administer", client);
    make(path, "two", "/OU=administer/OU=observe/CN=two", client);
    make(path, "no-purpose", "/OU=administer/CN=no-purpose", "basicConstraints = CA:FALSE\n");
    make(path, "person-host", "/OU=administer/CN=localhost", client + localhost);
    make(path, "server-only", "/OU=administer/CN=server-only",
         "extendedKeyUsage = serverAuth\n" + localhost);
    std::filesystem::create_directory(path + "/foreign");
    check(drover_certs({"init", path + "/foreign"}));
    check(drover_certs({"person", path + "/foreign", "mallory", "administer"}));
    check(drover_certs({"host", path + "/foreign", "rogue", "localhost", "127.0.0.1"}));
}

const FleetCerts& FleetCerts::get()
{
    static const FleetCerts certs;
    return certs;
}

TlsFiles FleetCerts::files(const std::string& name) const
{
    return {directory_ / "ca.crt", directory_ / (name + ".crt"), directory_ / (name + ".key")};
}

} // namespace drover::balancer::testing
