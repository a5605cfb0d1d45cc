// SPDX-License-Identifier: GPL-2.0-or-later
#include "tests/unit/balancer/doors/fleet_certs.h"
#include "util/fd.h"

#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>

namespace drover::balancer::testing {
namespace {

/// The units as they are installed, beside programs that exist (systemd looks).
class SystemdUnits : public ::testing::Test {
protected:
    void SetUp() override
    {
        for (const char* program : {"droverd", "drover-balancer", "drover"}) {
            std::ofstream(directory / program) << "#!/bin/sh\n";
            std::filesystem::permissions(directory / program, std::filesystem::perms(0755));
        }
        for (const char* unit :
             {"droverd.service", "drover-guests.service", "drover-balancer.service"}) {
            auto text = read_file(std::string(DROVER_SOURCE_ROOT "/contrib/balancer/systemd/") +
                                  unit + ".in");
            ASSERT_TRUE(text);
            for (size_t at = 0; (at = text->find("@bindir@")) != text->npos;)
                text->replace(at, 8, directory.path());
            for (size_t at = 0; (at = text->find("@docdir@")) != text->npos;)
                text->replace(at, 8, directory.path());
            EXPECT_EQ(text->find("dir@"), text->npos) << "something is not replaced";
            std::ofstream(directory / unit) << *text;
        }
    }

    static bool has_analyze() { return run({"systemd-analyze", "--version"}).code == 0; }

    TemporaryDirectory directory;
};

TEST_F(SystemdUnits, AreFlawless)
{
    if (!has_analyze())
        GTEST_SKIP() << "there is no systemd-analyze here";
    const RunResult result =
        run({"systemd-analyze", "verify", "--man=no", directory / "droverd.service",
             directory / "drover-guests.service", directory / "drover-balancer.service"});
    EXPECT_EQ(result.code, 0) << result.out;
    EXPECT_EQ(result.out.find(directory.path()), std::string::npos) << result.out;
}

TEST_F(SystemdUnits, TheBalancerIsShutIn)
{
    if (!has_analyze())
        GTEST_SKIP() << "there is no systemd-analyze here";
    // Of 100 (no protection at all); what a daemon on the network needs leaves some.
    const RunResult result = run({"systemd-analyze", "security", "--offline=yes", "--threshold=25",
                                  "--no-pager", directory / "drover-balancer.service"});
    EXPECT_EQ(result.code, 0) << result.out;
}

TEST_F(SystemdUnits, GuestsSurviveARestart)
{
    const auto text = read_file(directory / "droverd.service");
    for (const char* line : {"\nKillMode=process\n", "\nRuntimeDirectoryPreserve=yes\n",
                             "\nOOMPolicy=continue\n", "\nRestart=on-failure\n"})
        EXPECT_NE(text->find(line), std::string::npos) << line;
    for (const char* word :
         {"\nPrivateDevices=", "\nProtectClock=", "\nDeviceAllow=", "\nPrivateTmp=", "\nDelegate="})
        EXPECT_EQ(text->find(word), std::string::npos) << word << " would break guests";
}

TEST_F(SystemdUnits, GuestsShutDownBeforeDroverdDoes)
{
    const auto text = read_file(directory / "drover-guests.service");
    EXPECT_NE(text->find("After=droverd.service"), std::string::npos);
    EXPECT_NE(text->find("host-shut-down"), std::string::npos);
    for (const char* word : {"\nRequires=", "\nPartOf=", "\nBindsTo="})
        EXPECT_EQ(text->find(word), std::string::npos)
            << word << " would shut the guests down when droverd is restarted";
}

} // namespace
} // namespace drover::balancer::testing
