// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/command_line.h"

#include "fake_host.h"

#include <gtest/gtest.h>

namespace drover::qemu {
namespace {

CommandLine parse(std::string_view text)
{
    return CommandLine::parse(words(text));
}

TEST(CommandLine, ArgumentsAreNotOptions)
{
    const auto line = parse("-append '-m 5' --m 64 -S disk.img -nographic -kernel -S");
    ASSERT_EQ(line.words().size(), 6u);
    EXPECT_EQ(line.find_last("append")->text(), "-m 5");
    EXPECT_EQ(line.find_last("m")->text(), "64");
    EXPECT_TRUE(line.words()[3].name.empty());
    EXPECT_EQ(line.words()[3].text(), "disk.img");
    EXPECT_FALSE(line.words()[4].argument);
    EXPECT_EQ(line.find_last("kernel")->text(), "-S");
}

TEST(CommandLine, GivesBackWhatItRead)
{
    for (const char* text :
         {"", "disk.img", "--m 64 -S", "-smp 4 -device virtio-net,netdev=a - -- -kernel",
          "-no-such-flag -m 64", "-no-such-option value -m 64"})
        EXPECT_EQ(parse(text).arguments(), words(text)) << text;
}

TEST(CommandLine, GuessesWhetherAnUnknownOptionHasAnArgument)
{
    EXPECT_EQ(parse("-brand-new -m 64").find_last("m")->text(), "64");
    EXPECT_EQ(parse("-brand-new value -m 64").words().size(), 2u);
}

TEST(CommandLine, FindsAnArgumentAgain)
{
    const auto line = parse("a.img -S -m 64 -object x");
    EXPECT_EQ(line.argument_index(0), 0u);
    EXPECT_EQ(line.arguments()[line.argument_index(2)], "64");
    EXPECT_EQ(line.arguments()[line.argument_index(3)], "x");
}

TEST(CommandLine, SeveralMachineOptionsAreOne)
{
    const auto line = parse("-M pc,accel=kvm:tcg -machine usb=off -machine q35 -M accel=tcg");
    EXPECT_EQ(line.machine_property("type"), "q35");
    EXPECT_EQ(line.machine_property("accel"), "tcg");
    EXPECT_EQ(line.machine_property("memory-backend"), "");
}

TEST(ProbeLine, IsRecognized)
{
    for (const char* text :
         {"-h", "--help", "-version", "-machine help", "-M ?", "-cpu help", "-device help",
          "-device virtio-net-pci,help", "-accel help", "-object memory-backend-ram,help",
          "-netdev help", "-chardev help", "-d help", "-audio-help", "-machine none",
          "-S -no-user-config -nodefaults -nographic -machine none,accel=kvm:tcg -qmp "
          "unix:/x,server=on,wait=off -pidfile /p -daemonize",
          "-machine type=none"})
        EXPECT_TRUE(is_probe_line(parse(text))) << text;
}

TEST(ProbeLine, AnOrdinaryLineIsNone)
{
    for (const char* text :
         {"", "-append help", "-name help", "-kernel help", "help", "-M pc -append '-M none'",
          "-device virtio-net-pci,id=help", "-drive file=help", "-k help"})
        EXPECT_FALSE(is_probe_line(parse(text))) << text;
}

} // namespace
} // namespace drover::qemu
