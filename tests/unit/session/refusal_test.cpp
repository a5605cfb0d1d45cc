// SPDX-License-Identifier: GPL-2.0-or-later
#include "../stream/run_loop.h"
#include "migration_rig.h"

#include <gtest/gtest.h>

namespace drover::testing {
namespace {

struct Mismatch {
    const char* name;
    void (*change)(Json& destination);
    std::vector<const char*> words;
};

class Refusal : public ::testing::TestWithParam<Mismatch> {};

INSTANTIATE_TEST_SUITE_P(
    Machine, Refusal,
    ::testing::Values(
        Mismatch{"Kind", [](Json& d) { d["kind"] = "other"; }, {"hypervisor", "'fake'", "'other'"}},
        Mismatch{"Arch", [](Json& d) { d["arch"] = "riscv64"; }, {"architecture", "'riscv64'"}},
        Mismatch{"MachineType",
                 [](Json& d) { d["machine"] = "fake-2.0"; },
                 {"machine type", "'fake-1.0'", "'fake-2.0'", "-machine"}},
        Mismatch{
            "Accelerator", [](Json& d) { d["accelerator"] = "kvm"; }, {"accelerator", "-accel"}},
        Mismatch{"CpuModel", [](Json& d) { d["cpu_model"] = "max"; }, {"CPU model", "-cpu"}},
        Mismatch{"CpuCount", [](Json& d) { d["cpus"] = 1; }, {"vCPUs", "2 at", "1 at", "-smp"}},
        Mismatch{"CpuFeatureMissing",
                 [](Json& d) { d["cpu_features"]["1.ecx"] = 0x5U; },
                 {"lacks features", "1.ecx", "0x2"}},
        Mismatch{"CpuFeatureThatAppears",
                 [](Json& d) { d["cpu_features"]["1.ecx"] = 0xfU; },
                 {"has not seen so far", "1.ecx", "0x8"}},
        Mismatch{"CpuRegisterMissing",
                 [](Json& d) { d["cpu_features"].erase("1.ecx"); },
                 {"lacks features", "1.ecx", "0x7"}},
        Mismatch{"DeviceMissing",
                 [](Json& d) { d["devices"].erase("/disk"); },
                 {"no device /disk", "fake-blk", "-device"}},
        Mismatch{"DeviceOfAnotherType",
                 [](Json& d) { d["devices"]["/net"] = "other-net"; },
                 {"/net", "fake-net", "other-net"}},
        Mismatch{"DeviceTooMany",
                 [](Json& d) { d["devices"]["/gpu"] = "fake-gpu"; },
                 {"the source lacks", "/gpu"}}),
    [](const auto& test) { return std::string(test.param.name); });

void expect_words(const Error& error, const std::vector<const char*>& words)
{
    for (const char* word : words)
        EXPECT_NE(error.text().find(word), std::string::npos) << word << " in: " << error.text();
}

TEST_P(Refusal, InWordsOnBothSidesAndTheDoorStaysOpen)
{
    MigrationRig rig;
    const Json fitting = rig.there.description;
    GetParam().change(rig.there.description);
    rig.start();
    ASSERT_TRUE(rig.run_to_end());
    rig.expect_stayed();
    EXPECT_EQ(rig.source_error()->kind, ErrorKind::Incompatible);
    expect_words(*rig.source_error(), GetParam().words);
    ASSERT_TRUE(run_until([&] { return rig.turned_away.size() == 1 && !rig.door->session(); }));
    EXPECT_EQ(rig.turned_away[0].kind, ErrorKind::Incompatible);
    expect_words(rig.turned_away[0], GetParam().words);
    EXPECT_EQ(rig.there.begin_loads, 0);
    EXPECT_TRUE(is_untouched(rig.there.fake_ram));
    EXPECT_TRUE(rig.destination_states.empty());

    rig.there.description = fitting;
    rig.start();
    ASSERT_TRUE(rig.run_to_end());
    rig.expect_moved();
}

/// A newer hypervisor tells of more registers than an older one.
TEST(RefusalOf, CpuRegistersThatOneSideDoesNotTellIsNone)
{
    MigrationRig rig;
    rig.there.description["cpu_features"] = {{"1.ecx", 0x7U}, {"7.ebx", 1U}};
    rig.start();
    ASSERT_TRUE(rig.run_to_end());
    rig.expect_moved();
}

struct OtherRam {
    std::vector<FakeBlock> blocks;
    std::vector<const char*> words;
};

TEST(RefusalOf, OtherRam)
{
    const OtherRam cases[] = {
        {{{"ram", 512}}, {"'ram'", "1 MiB at the source", "2 MiB at the destination", "-m"}},
        {{{"mem", 256}}, {"no RAM block 'ram'", "named on the destination's"}},
        {{{"ram", 256}, {"more", 256}}, {"the source lacks", "'more'"}},
    };
    for (const OtherRam& other : cases) {
        MigrationRig rig({.blocks = {{"ram", 256}}});
        FakeMachine different("the destination", rig.witness, other.blocks, true);
        std::vector<Error> refused;
        IncomingDoor door(different, "drover test", nullptr,
                          {.state_changed = [](DestinationState) {},
                           .turned_away = [&](const Error& error,
                                              const std::string&) { refused.push_back(error); }});
        const std::string path = ::testing::TempDir() + "drover-other-ram";
        ASSERT_TRUE(door.listen(unix_address(path)));
        SourceOptions options;
        options.destination.address = unix_address(path);
        options.software = "drover test";
        SourceSession source(
            rig.here, rig.policy, std::move(options),
            {.state_changed = [](SourceState) {}, .decided = [](const Decision&) {}});
        source.start();
        ASSERT_TRUE(run_until([&] { return is_final(source.state()) && !refused.empty(); }));
        EXPECT_EQ(source.state(), SourceState::Failed);
        expect_words(*source.report().error, other.words);
        expect_words(refused[0], other.words);
        EXPECT_EQ(rig.witness.runner(), "the source");
        EXPECT_TRUE(is_untouched(different.fake_ram));
    }
}

TEST(RefusalOf, AMachineThatCannotDescribeItself)
{
    MigrationRig rig;
    rig.there.acts[FakeMachine::Describe] = FakeMachine::Act::Fail;
    rig.start();
    ASSERT_TRUE(rig.run_to_end());
    rig.expect_stayed();
    expect_words(*rig.source_error(), {"cannot describe itself"});
    rig.there.acts[FakeMachine::Describe] = FakeMachine::Act::AtOnce;
    ASSERT_TRUE(run_until([&] { return !rig.door->session(); }));
    rig.start();
    ASSERT_TRUE(rig.run_to_end());
    rig.expect_moved();
}

TEST(RefusalOf, NobodyAtTheAddress)
{
    MigrationRig rig;
    const MigrationAddress gone = rig.address();
    rig.door.reset();
    SourceOptions options;
    options.destination.address = gone;
    SourceSession source(rig.here, rig.policy, std::move(options),
                         {.state_changed = [](SourceState) {}, .decided = [](const Decision&) {}});
    source.start();
    ASSERT_TRUE(run_until([&] { return is_final(source.state()); }));
    EXPECT_EQ(source.state(), SourceState::Failed);
    EXPECT_EQ(source.report().error->kind, ErrorKind::Connection);
    EXPECT_EQ(rig.witness.runner(), "the source");
    EXPECT_EQ(rig.here.begin_saves, 0);
}

TEST(Refusal, AGuestThatCannotBeSavedIsNotEvenAnnounced)
{
    MigrationRig rig;
    rig.here.acts[FakeMachine::PrepareSave] = FakeMachine::Act::Fail;
    rig.start();
    ASSERT_TRUE(rig.run_to_end());
    rig.expect_stayed();
    EXPECT_EQ(rig.source->report().given_up_in, SourceState::Greeting);
    EXPECT_EQ(rig.there.begin_loads, 0) << "the destination may take another guest";
}

} // namespace
} // namespace drover::testing
