// SPDX-License-Identifier: GPL-2.0-or-later
#include "tls_files.h"

#include <cstdlib>
#include <filesystem>
#include <glib.h>
#include <gtest/gtest.h>
#include <vector>

namespace drover::testing {

namespace fs = std::filesystem;

namespace {

void run_certs(std::vector<std::string> words)
{
    words.insert(words.begin(), DROVER_SOURCE_ROOT "/scripts/drover-certs");
    std::vector<char*> argv;
    for (std::string& word : words)
        argv.push_back(word.data());
    argv.push_back(nullptr);
    int status = -1;
    EXPECT_TRUE(g_spawn_sync(nullptr, argv.data(), nullptr, G_SPAWN_STDOUT_TO_DEV_NULL, nullptr,
                             nullptr, nullptr, nullptr, &status, nullptr));
    EXPECT_EQ(status, 0) << words[1];
}

} // namespace

TlsFiles::TlsFiles()
{
    std::string pattern = fs::temp_directory_path() / "drover-tls-XXXXXX";
    path_ = mkdtemp(pattern.data()) ? pattern : std::string();
    make_authority("ours");
    make_authority("other");
    make_host("ours", "here", "here");
    make_host("ours", "there", "there");
    make_host("other", "here", "stranger");
    fs::create_directory(dir("nobody"));
    fs::copy_file(dir("here") + "/ca-cert.pem", dir("nobody") + "/ca-cert.pem");
}

TlsFiles::~TlsFiles()
{
    std::error_code ignored;
    fs::remove_all(path_, ignored);
}

const TlsFiles& TlsFiles::get()
{
    static const TlsFiles files;
    return files;
}

void TlsFiles::make_authority(const std::string& name) const
{
    run_certs({"init", path_ + "/" + name + "-ca"});
}

void TlsFiles::make_host(const std::string& authority, const std::string& name,
                         const std::string& into) const
{
    const std::string from = path_ + "/" + authority + "-ca";
    run_certs({"host", from, name, name + ".example", "127.0.0.1"});
    fs::create_directory(dir(into));
    fs::copy_file(from + "/ca.crt", dir(into) + "/ca-cert.pem");
    for (const char* end : {"/client", "/server"}) {
        fs::copy_file(from + "/" + name + ".crt", dir(into) + end + "-cert.pem");
        fs::copy_file(from + "/" + name + ".key", dir(into) + end + "-key.pem");
    }
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
                   .key_password = {},
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
                   .key_password = {},
                   .hostname = {},
                   .authorize = std::move(authorize)});
}

} // namespace drover::testing
