// SPDX-License-Identifier: GPL-2.0-or-later
#include "tls_files.h"

#include <filesystem>
#include <gtest/gtest.h>
#include <vector>

namespace drover::testing {

namespace fs = std::filesystem;

namespace {

void run_certs(std::vector<std::string> words)
{
    const RunResult result = drover_certs(std::move(words));
    EXPECT_EQ(result.code, 0) << result.out;
}

} // namespace

TlsFiles::TlsFiles()
{
    make_authority("ours");
    make_authority("other");
    make_host("ours", "here", "here");
    make_host("ours", "there", "there");
    make_host("other", "here", "stranger");
    fs::create_directory(dir("nobody"));
    fs::copy_file(dir("here") + "/ca-cert.pem", dir("nobody") + "/ca-cert.pem");
}

const TlsFiles& TlsFiles::get()
{
    static const TlsFiles files;
    return files;
}

void TlsFiles::make_authority(const std::string& name) const
{
    run_certs({"init", authority(name)});
}

void TlsFiles::make_host(const std::string& authority, const std::string& name,
                         const std::string& into) const
{
    const std::string from = this->authority(authority);
    run_certs({"host", from, name, name + ".example", "127.0.0.1"});
    fs::create_directory(dir(into));
    fs::copy_file(from + "/ca.crt", dir(into) + "/ca-cert.pem");
    for (const char* end : {"/client", "/server"}) {
        fs::copy_file(from + "/" + name + ".crt", dir(into) + end + "-cert.pem");
        fs::copy_file(from + "/" + name + ".key", dir(into) + end + "-key.pem");
    }
}

std::string TlsFiles::copy(const std::string& name, const std::string& as) const
{
    fs::copy(dir(name), dir(as), fs::copy_options::recursive);
    return dir(as);
}

SharedTlsCredentials loaded(TlsWords words)
{
    auto credentials = TlsCredentials::load(std::move(words));
    EXPECT_TRUE(credentials) << credentials.error().text();
    return credentials ? *credentials : nullptr;
}

SharedTlsCredentials TlsFiles::client(const std::string& name, const std::string& hostname) const
{
    return loaded({.endpoint = TlsWords::Endpoint::Client,
                   .dir = dir(name),
                   .priority = {},
                   .username = {},
                   .hostname = hostname,
                   .authorize = {}});
}

SharedTlsCredentials TlsFiles::server(const std::string& name,
                                      std::function<Status(const std::string&)> authorize) const
{
    return loaded({.endpoint = TlsWords::Endpoint::Server,
                   .dir = dir(name),
                   .priority = {},
                   .username = {},
                   .hostname = {},
                   .authorize = std::move(authorize)});
}

} // namespace drover::testing
