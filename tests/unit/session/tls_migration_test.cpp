// SPDX-License-Identifier: GPL-2.0-or-later
//
// Whole migrations inside TLS, and who is kept out.
#include "../stream/run_loop.h"
#include "migration_rig.h"
#include "tls_bad_certificates.h"
#include "tls_files.h"

#include "migration/session/link_probe.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>

namespace drover::testing {

namespace {

const TlsFiles& files()
{
    return TlsFiles::get();
}

void expect_word(const Error* error, const std::string& word)
{
    ASSERT_TRUE(error);
    EXPECT_NE(error->text().find(word), std::string::npos) << error->text();
}

bool was_turned_away(const MigrationRig& rig, const std::string& word)
{
    return std::ranges::any_of(rig.turned_away, [&](const Error& error) {
        return error.text().find(word) != std::string::npos;
    });
}

/// The guest stays, whoever is refused, and the door is open for the right one afterwards.
void expect_kept_out(RigOptions options, const std::string& at_the_source,
                     const std::string& at_the_door)
{
    MigrationRig rig(options);
    rig.start();
    ASSERT_TRUE(rig.run_to_end());
    rig.expect_stayed();
    if (!at_the_source.empty())
        expect_word(rig.source_error(), at_the_source);
    ASSERT_TRUE(run_until([&] { return !rig.turned_away.empty(); }));
    EXPECT_TRUE(was_turned_away(rig, at_the_door)) << rig.turned_away[0].text();
    EXPECT_FALSE(rig.door->session());
}

} // namespace

TEST(TlsMigration, MovesTheGuestOverAllItsConnections)
{
    for (const bool tcp : {false, true}) {
        MigrationRig rig({.blocks = {{"ram", 3000}},
                          .channels = 4,
                          .tcp = tcp,
                          .source_tls = files().client("here"),
                          .door_tls = files().server("there")});
        rig.start();
        ASSERT_TRUE(rig.run_to_end());
        rig.expect_moved();
    }
}

TEST(TlsMigration, PostcopyGoesOverItToo)
{
    MigrationRig rig({.blocks = {{"ram", 3000}},
                      .postcopy = true,
                      .source_tls = files().client("here"),
                      .door_tls = files().server("there")});
    rig.start();
    ASSERT_TRUE(rig.run_to_end());
    rig.expect_moved();
}

TEST(TlsMigration, ASharedKeyDoesIt)
{
    const std::string dir = ::testing::TempDir() + "drover-psk";
    std::filesystem::create_directories(dir);
    std::ofstream(dir + "/keys.psk") << "olga:00\nqemu:0123456789abcdef0123456789abcdef\n";
    const auto words = [&](TlsWords::Endpoint endpoint, const std::string& user) {
        return TlsWords{.kind = TlsWords::Kind::Psk,
                        .endpoint = endpoint,
                        .dir = dir,
                        .priority = {},
                        .username = user,
                        .hostname = {},
                        .authorize = {}};
    };
    MigrationRig rig({.source_tls = loaded(words(TlsWords::Endpoint::Client, "")),
                      .door_tls = loaded(words(TlsWords::Endpoint::Server, ""))});
    rig.start();
    ASSERT_TRUE(rig.run_to_end());
    rig.expect_moved();
    const auto nobody = TlsCredentials::load(words(TlsWords::Endpoint::Client, "peter"));
    ASSERT_FALSE(nobody);
    expect_word(&nobody.error(), "peter");
    std::ofstream(dir + "/keys.psk") << "qemu:ffffffffffffffffffffffffffffffff\n";
    const auto wrong = loaded(words(TlsWords::Endpoint::Client, ""));
    std::ofstream(dir + "/keys.psk") << "qemu:0123456789abcdef0123456789abcdef\n";
    expect_kept_out(
        {.source_tls = wrong, .door_tls = loaded(words(TlsWords::Endpoint::Server, ""))},
        "TLS handshake", "TLS handshake");
    std::filesystem::remove_all(dir);
}

TEST(TlsMigration, WhoIsNotOfTheAuthorityIsKeptOut)
{
    const auto door = files().server("there");
    // A certificate of another authority; it believes ours all the same.
    std::filesystem::copy_file(files().dir("here") + "/ca-cert.pem",
                               files().dir("stranger") + "/ca-cert.pem",
                               std::filesystem::copy_options::overwrite_existing);
    expect_kept_out({.source_tls = files().client("stranger"), .door_tls = door}, "",
                    "certificate is refused");
    expect_kept_out({.source_tls = files().client("nobody"), .door_tls = door}, "",
                    "TLS handshake failed");
}

TEST(TlsMigration, ACertificateThatHasEndedIsRefusedOnEitherSide)
{
    const std::string source = files().copy("here", "ended-here");
    const std::string destination = files().copy("there", "ended-there");
    let_expire(source + "/client-cert.pem", files().authority("ours"));
    let_expire(destination + "/server-cert.pem", files().authority("ours"));
    expect_kept_out(
        {.source_tls = files().client("ended-here"), .door_tls = files().server("there")}, "",
        "expired");
    expect_kept_out(
        {.source_tls = files().client("here"), .door_tls = files().server("ended-there")},
        "expired", "");
}

TEST(TlsMigration, ACertificateThatWasRevokedIsRefused)
{
    const std::string door = files().copy("there", "careful");
    revoke(files().dir("here") + "/client-cert.pem", files().authority("ours"),
           door + "/ca-crl.pem");
    expect_kept_out({.source_tls = files().client("here"), .door_tls = files().server("careful")},
                    "", "revoked");
    MigrationRig rig(
        {.source_tls = files().client("there"), .door_tls = files().server("careful")});
    rig.start();
    ASSERT_TRUE(rig.run_to_end());
    rig.expect_moved();
}

TEST(TlsMigration, APriorityBoundsWhatIsSpoken)
{
    const auto words = [](TlsWords::Endpoint endpoint, const std::string& name,
                          const std::string& priority) {
        return TlsWords{.endpoint = endpoint,
                        .dir = files().dir(name),
                        .priority = priority,
                        .username = {},
                        .hostname = "there.example",
                        .authorize = {}};
    };
    const auto old =
        loaded(words(TlsWords::Endpoint::Client, "here", "NORMAL:-VERS-ALL:+VERS-TLS1.2"));
    MigrationRig rig({.source_tls = old, .door_tls = files().server("there")});
    rig.start();
    ASSERT_TRUE(rig.run_to_end());
    rig.expect_moved();
    const auto newest =
        loaded(words(TlsWords::Endpoint::Server, "there", "NORMAL:-VERS-ALL:+VERS-TLS1.3"));
    expect_kept_out({.source_tls = old, .door_tls = newest}, "TLS handshake", "TLS handshake");
    const auto nonsense =
        TlsCredentials::load(words(TlsWords::Endpoint::Client, "here", "NO-SUCH-PRIORITY"));
    ASSERT_FALSE(nonsense);
    expect_word(&nonsense.error(), "NO-SUCH-PRIORITY");
}

TEST(TlsMigration, ADestinationThatIsAnotherIsNotBelieved)
{
    expect_kept_out({.source_tls = files().client("here", "elsewhere.example"),
                     .door_tls = files().server("there")},
                    "elsewhere.example", "");
    expect_kept_out(
        {.source_tls = files().client("here", "192.0.2.1"), .door_tls = files().server("there")},
        "192.0.2.1", "");
    expect_kept_out({.source_tls = files().client("here", ""), .door_tls = files().server("there")},
                    "tls-hostname", "");
}

TEST(TlsMigration, AnAddressInFiguresIsANameToo)
{
    MigrationRig rig(
        {.source_tls = files().client("here", "127.0.0.1"), .door_tls = files().server("there")});
    rig.start();
    ASSERT_TRUE(rig.run_to_end());
    rig.expect_moved();
}

TEST(TlsMigration, NeitherSideGoesBackToPlain)
{
    expect_kept_out({.source_tls = {}, .door_tls = files().server("there")}, "",
                    "TLS handshake failed");
    expect_kept_out({.source_tls = files().client("here"), .door_tls = {}}, "TLS handshake", "TLS");
}

TEST(TlsMigration, TheListOfThoseWhoMayComeIsObeyed)
{
    std::vector<std::string> seen;
    const auto only = [&](const std::string& who) {
        return [&seen, who](const std::string& name) -> Status {
            seen.push_back(name);
            if (name == who)
                return {};
            return fail(ErrorKind::Refused, name + " may not come in");
        };
    };
    MigrationRig rig({.source_tls = files().client("here"),
                      .door_tls = files().server("there", only("CN=here"))});
    rig.start();
    ASSERT_TRUE(rig.run_to_end());
    rig.expect_moved();
    EXPECT_GE(seen.size(), 3U) << "each connection is asked for its name";
    expect_kept_out({.source_tls = files().client("here"),
                     .door_tls = files().server("there", only("CN=another"))},
                    "", "may not come in");
}

TEST(TlsMigration, AProbeMeasuresWhatAMigrationWouldUse)
{
    MigrationRig rig({.source_tls = files().client("here"), .door_tls = files().server("there")});
    std::optional<Result<LinkReport>> report;
    LinkProbe probe({.destination = {rig.address(), files().client("here")}, .hello = {}},
                    [&](Result<LinkReport> result) { report = std::move(result); });
    ASSERT_TRUE(run_until([&] { return report.has_value(); }));
    ASSERT_TRUE(*report) << report->error().text();
    EXPECT_GT((*report)->bytes_s, 1e6);
    report.reset();
    LinkProbe stranger({.destination = {rig.address(), nullptr}, .hello = {}},
                       [&](Result<LinkReport> result) { report = std::move(result); });
    ASSERT_TRUE(run_until([&] { return report.has_value(); }));
    EXPECT_FALSE(*report);
}

TEST(TlsMigration, FilesThatAreLackingAreNamed)
{
    const auto load = [](TlsWords::Endpoint endpoint, const std::string& name) {
        return TlsCredentials::load({.endpoint = endpoint,
                                     .dir = files().dir(name),
                                     .priority = {},
                                     .username = {},
                                     .hostname = {},
                                     .authorize = {}});
    };
    const auto nowhere = load(TlsWords::Endpoint::Client, "nowhere");
    ASSERT_FALSE(nowhere);
    expect_word(&nowhere.error(), "nowhere/ca-cert.pem");
    const auto no_server = load(TlsWords::Endpoint::Server, "nobody");
    ASSERT_FALSE(no_server);
    expect_word(&no_server.error(), "server-cert.pem");
}

} // namespace drover::testing
