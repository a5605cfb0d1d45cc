// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/host/adopt.h"

#include <gtest/gtest.h>

namespace drover::balancer {
namespace {

using Words = std::vector<std::string>;

TEST(Adopt, LeavesOutWhatBelongsToTheOneProcess)
{
    const auto definition = definition_of(
        {"/usr/bin/qemu-system-x86_64", "-name", "guest=web1,debug-threads=on", "-M", "pc", "-qmp",
         "unix:/run/web1.qmp,server=on,wait=off", "-pidfile", "/run/p", "-daemonize", "-snapshot",
         "-m", "512", "--incoming", "defer", "-qmp", "unix:/run/web1.qmp2,server=on", "-S", "--S"},
        "/run/web1.qmp");
    ASSERT_TRUE(definition) << definition.error().text();
    EXPECT_EQ(definition->name, "web1");
    EXPECT_EQ(definition->kind, VmKind::Qemu);
    EXPECT_EQ(definition->emulator, "qemu-system-x86_64");
    EXPECT_EQ(definition->command, (Words{"-M", "pc", "-snapshot", "-m", "512", "-qmp",
                                          "unix:/run/web1.qmp2,server=on"}));
}

TEST(Adopt, LeavesOutAMonitorOnACharacterDevice)
{
    const auto definition = definition_of(
        {"drover-system-x86_64", "-name", "a", "-chardev",
         "socket,id=mon1,path=/run/a.sock,server=on,wait=off", "-mon", "chardev=mon1,mode=control",
         "-chardev", "socket,id=serial,path=/run/s.sock", "-serial", "chardev:serial", "-netdev",
         "tap,id=net1,ifname=a-tap,script=no"},
        "/run/a.sock");
    ASSERT_TRUE(definition) << definition.error().text();
    EXPECT_EQ(definition->kind, VmKind::Drover);
    EXPECT_EQ(definition->command,
              (Words{"-chardev", "socket,id=serial,path=/run/s.sock", "-serial", "chardev:serial",
                     "-netdev", "tap,id=net1,ifname=a-tap,script=no"}));
    ASSERT_EQ(definition->nics.size(), 1U);
    EXPECT_EQ(definition->nics[0].id, "net1");
    EXPECT_EQ(definition->nics[0].ifname, "a-tap");
}

TEST(Adopt, RefusesALineThatCannotBeStartedElsewhere)
{
    const auto definition =
        definition_of({"qemu-system-x86_64", "-netdev", "tap,id=net0,fd=23"}, "/run/a.sock");
    ASSERT_FALSE(definition);
    EXPECT_NE(definition.error().message.find("fd=23"), std::string::npos);
}

} // namespace
} // namespace drover::balancer
