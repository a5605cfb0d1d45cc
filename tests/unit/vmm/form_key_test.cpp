// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/form_key.h"

#include <filesystem>
#include <gtest/gtest.h>
#include <unistd.h>

namespace drover::qemu {
namespace {

namespace fs = std::filesystem;

const Json description = {{"version", "7.2.22"},
                          {"machine", "microvm"},
                          {"own_memory", {{"pc.bios", {{"used", 131072}}}}},
                          {"uuid", "of this start"},
                          {"tsc_khz", 2000000}};

/// This program in the place of a QEMU that runs.
std::string key_of(const std::vector<std::string>& words, const Json& described = description)
{
    std::vector<std::string> command = {fs::read_symlink("/proc/self/exe")};
    command.insert(command.end(), words.begin(), words.end());
    const auto key = form_key(command, getpid(), described);
    EXPECT_TRUE(key) << key.error().text();
    return key ? *key : "";
}

TEST(FormKey, IsTheSameForTheSame)
{
    EXPECT_EQ(key_of({"-M", "pc"}), key_of({"-M", "pc"}));
    Json other = description;
    other["uuid"] = "of another";
    other["tsc_khz"] = 2000001;
    EXPECT_EQ(key_of({"-M", "pc"}), key_of({"-M", "pc"}, other));
}

TEST(FormKey, IsAnotherForAnotherMachine)
{
    EXPECT_NE(key_of({"-M", "pc"}), key_of({"-M", "q35"}));
    EXPECT_NE(key_of({"-M", "pc"}), key_of({"-M pc"}));
    EXPECT_NE(key_of({"-M", "pc"}), key_of({"-M", "pc", ""}));
    for (const auto& [member, value] :
         std::map<std::string, Json>{{"version", "10.0.2"},
                                     {"own_memory", {{"pc.bios", {{"used", 262144}}}}},
                                     {"accelerator", "kvm"},
                                     {"cpu_features", {{"CPUID.1.0:ECX", 1}}}}) {
        Json other = description;
        other[member] = value;
        EXPECT_NE(key_of({"-M", "pc"}), key_of({"-M", "pc"}, other)) << member;
    }
}

/// By its files: what they are, and since when.
TEST(FormKey, IsAnotherForAnotherBuild)
{
    const std::string program = fs::read_symlink("/proc/self/exe");
    const std::string before = key_of({});
    EXPECT_NE(before.find(program + " "), std::string::npos) << "not among what it executes";
    EXPECT_NE(before.find("libglib"), std::string::npos);
    fs::permissions(program, fs::status(program).permissions()); // a change, though to the same
    EXPECT_NE(key_of({}), before);
}

TEST(FormKey, ThereIsNoneWhereAnotherProgramWouldBeStarted)
{
    EXPECT_FALSE(form_key({"/bin/sh"}, getpid(), description));
    EXPECT_FALSE(form_key({"/no/such/program"}, getpid(), description));
    EXPECT_FALSE(form_key({}, getpid(), description));
}

TEST(FormKey, FilesAreThoseWhoseCodeIsExecuted)
{
    const auto files = program_files(
        "55d0c0a00000-55d0c0b00000 r--p 00000000 08:01 1  /usr/bin/qemu\n"
        "55d0c0b00000-55d0c0c00000 r-xp 00100000 08:01 1                  /usr/bin/qemu\n"
        "7f0000000000-7f0000001000 r-xp 00000000 08:01 2                  /lib/with space.so\n"
        "7f0000001000-7f0000002000 r-xp 00001000 08:01 2                  /lib/with space.so\n"
        "7f0000002000-7f0000003000 rw-s 00000000 00:01 3  /memfd:drover-ram:ram (deleted)\n"
        "7f0000003000-7f0000004000 r-xs 00000000 00:01 4  /memfd:tcg-jit (deleted)\n"
        "7f0000004000-7f0000005000 rwxp 00000000 00:00 0 \n"
        "7ffc00000000-7ffc00001000 r-xp 00000000 00:00 0                  [vdso]\n");
    ASSERT_TRUE(files) << files.error().text();
    EXPECT_EQ(*files, (std::vector<std::string>{"/lib/with space.so", "/usr/bin/qemu"}));
    EXPECT_FALSE(
        program_files("7f0000000000-7f0000001000 r-xp 00000000 08:01 2  /lib/a (deleted)\n"));
}

} // namespace
} // namespace drover::qemu
