// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/blank_line.h"

#include <gtest/gtest.h>

namespace drover::qemu {
namespace {

std::string blank(const std::vector<std::string>& arguments)
{
    LaunchPlan plan;
    plan.arguments = arguments;
    auto made = blank_arguments(plan);
    if (!made)
        return made.error().text();
    std::string text;
    for (const std::string& word : *made)
        text += (text.empty() ? "" : " ") + word;
    return text;
}

TEST(BlankLine, KeepsTheMachineAndItsDevices)
{
    EXPECT_EQ(blank({"-M", "pc,hpet=off", "-m", "64", "-smp", "2", "-device", "virtio-rng-pci"}),
              "-M pc,hpet=off -m 64 -smp 2 -device virtio-rng-pci -display none");
}

TEST(BlankLine, HasNoPartInWhatIsTheGuests)
{
    EXPECT_EQ(
        blank({"-netdev", "user,id=n0,hostfwd=tcp::2222-:22", "-netdev",
               "tap,id=n1,ifname=tap0,vhost=on", "-netdev", "bridge,id=n2"}),
        "-netdev user,id=n0 -netdev hubport,hubid=1000,id=n1 -netdev hubport,hubid=1001,id=n2 "
        "-display none");
    EXPECT_EQ(blank({"-drive", "file=/g.qcow2,format=qcow2,if=none,id=d,cache=none,aio=native",
                     "-hda", "/h.img", "/i.img"}),
              "-drive file=null-co://,format=raw,if=none,id=d -hda null-co:// null-co:// "
              "-display none");
    EXPECT_EQ(blank({"-blockdev", R"({"driver":"file","filename":"/g","node-name":"n"})"}),
              "-blockdev driver=null-co,read-zeroes=on,node-name=n -display none");
    EXPECT_EQ(blank({"-chardev", "socket,id=c,path=/s", "-serial", "chardev:c", "-serial", "stdio",
                     "-parallel", "none"}),
              "-chardev null,id=c -serial chardev:c -serial null -parallel none -display none");
    EXPECT_EQ(blank({"-qmp", "unix:/q", "-vnc", ":1", "-nographic", "-S", "-name", "g",
                     "-daemonize", "-pidfile", "/p", "-display", "gtk"}),
              "-display none");
}

TEST(BlankLine, WhatCannotBeHadTwiceIsNamed)
{
    EXPECT_NE(blank({"-fsdev", "local,id=f,path=/,security_model=none"}).find("-fsdev"),
              std::string::npos);
    EXPECT_NE(blank({"-tpmdev", "passthrough,id=t"}).find("-tpmdev"), std::string::npos);
}

} // namespace
} // namespace drover::qemu
