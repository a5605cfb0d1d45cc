// SPDX-License-Identifier: GPL-2.0-or-later
#include "../stream/run_loop.h"
#include "migration/session/cpu_check.h"
#include "migration/session/judgement.h"
#include "migration/session/link_probe.h"
#include "migration_rig.h"

#include <gtest/gtest.h>

namespace drover::testing {
namespace {

Json described(const char* text)
{
    return *parse_json(text);
}

/// Of machines that differ in nothing but what is given.
Findings between(Json source, Json destination)
{
    return judge_machines(source, destination, StateForm::Neutral);
}

bool tells(const std::vector<Error>& findings, const std::string& words)
{
    return std::ranges::any_of(findings, [&](const Error& finding) {
        return finding.text().find(words) != std::string::npos;
    });
}

TEST(Judgement, NamesWhatIsMissingBetweenKinds)
{
    const Json xen = described(R"({"kind":"xen","cpu_features":{"CPUID.1.0:ECX":1,
                                   "CPUID.7.0:EBX":0,"CPUID.80000001.0:ECX":1}})");
    Json guest = described(R"({"kind":"qemu","cpu_features":{"CPUID.1.0:ECX":33554945,
                               "CPUID.7.0:EBX":32,"CPUID.80000001.0:ECX":5}})");
    const Findings found = between(guest, xen);
    ASSERT_EQ(found.blocks.size(), 1U);
    EXPECT_TRUE(tells(found.blocks, "ssse3, aes, avx2")) << found.blocks[0].text();
    EXPECT_TRUE(tells(found.blocks, "-ssse3,-aes,-avx2")) << found.blocks[0].text();
    EXPECT_TRUE(tells(found.warnings, "guests of its own")) << "svm is no reason to stay";
    // What appears is no reason either; x2apic shows in the state, where it is used.
    guest["cpu_features"] = {{"CPUID.1.0:ECX", 1U << 21}};
    const Findings appears = between(guest, xen);
    EXPECT_TRUE(appears.blocks.empty());
    EXPECT_TRUE(tells(appears.warnings, "has not seen so far: pni"));
}

TEST(Judgement, WhatIsNotTranslatedIsSaidAtTheHello)
{
    const char* wide = R"({"kind":"qemu","accelerator":"kvm","cpu_features":
        {"CPUID.7.0:EBX":81920,"CPUID.7.0:EDX":16777216,"CPUID.7.0:ECX":8}})";
    Json there = described(wide);
    there["accelerator"] = "tcg";
    const Findings found = between(described(wide), there);
    ASSERT_EQ(found.blocks.size(), 1U);
    EXPECT_TRUE(tells(found.blocks, "avx512f, mpx, amx-tile, whose")) << found.blocks[0].text();
    EXPECT_FALSE(tells(found.blocks, "pku")) << "QEMU has a place for it";
    there["kind"] = "xen";
    EXPECT_TRUE(tells(between(described(wide), there).blocks, "pku"));
}

TEST(Judgement, KvmsClockStaysWhereThereIsKvm)
{
    for (const uint64_t bit : {1U, 8U}) {
        const Json guest{{"accelerator", "kvm"}, {"cpu_features", {{"CPUID.40000001.0:EAX", bit}}}};
        const Findings found = between(guest, Json{{"accelerator", "tcg"}});
        EXPECT_TRUE(tells(found.blocks, "kvm=off"));
        EXPECT_TRUE(between(guest, Json{{"accelerator", "kvm"}}).blocks.empty());
    }
    const Json off{{"accelerator", "kvm"}, {"cpu_features", {{"CPUID.40000001.0:EAX", 0}}}};
    EXPECT_TRUE(between(off, Json{{"accelerator", "tcg"}}).blocks.empty());
}

TEST(Judgement, ClocksThatRunAtAnotherSpeed)
{
    const Json xen = described(R"({"kind":"xen","tsc_khz":2000000})");
    const Json idle = described(R"({"kind":"qemu","hpet":true,"tsc_khz":2000500})");
    EXPECT_TRUE(between(idle, xen).blocks.empty());
    EXPECT_TRUE(tells(between(idle, xen).warnings, "hpet=off"));
    EXPECT_FALSE(tells(between(idle, xen).warnings, "time-stamp")) << "0.025 %";
    const Json counts = described(R"({"kind":"qemu","hpet":true,"hpet_counts":true})");
    EXPECT_TRUE(tells(between(counts, xen).blocks, "62.5 MHz"));
    EXPECT_FALSE(tells(between(counts, described(R"({"kind":"qemu"})")).blocks, "HPET"));
    const Json slow = described(R"({"kind":"qemu","tsc_khz":1800000})");
    EXPECT_TRUE(tells(between(slow, xen).warnings, "1800.0 MHz here, and at 2000.0 MHz"));
}

TEST(Judgement, WhatBindsAGuestToXen)
{
    const Json bound = described(R"({"kind":"xen","pv_drivers":true,"viridian":true,
                                     "high_pins":2,"hpet_counts":true})");
    const Findings found = between(bound, described(R"({"kind":"qemu"})"));
    EXPECT_EQ(found.blocks.size(), 4U);
    EXPECT_TRUE(tells(found.blocks, "nopv"));
    EXPECT_TRUE(tells(found.blocks, "2 interrupts on pins"));
}

TEST(Judgement, WhatTheSourceKnowsToBeUncarried)
{
    Json bound = described(R"({"kind":"xen","uncarried":["'e1000' 'nic0'\n: no neutral form",7]})");
    const Json there = described(R"({"kind":"qemu"})");
    ASSERT_EQ(between(bound, there).blocks.size(), 1U);
    EXPECT_TRUE(tells(between(bound, there).blocks, "leave Xen: 'e1000' 'nic0'?: no neutral form"));
    for (int i = 0; i < 1000; ++i)
        bound["uncarried"].push_back(std::string(100000, 'x'));
    EXPECT_LT(between(bound, there).blocks.size(), 100U);
    bound["uncarried"] = 7;
    EXPECT_TRUE(between(bound, there).blocks.empty());
}

/// A peer may say anything.
TEST(Judgement, HostileDescriptions)
{
    Json many = Json::object();
    for (int i = 0; i < 1000; ++i)
        many["CPUID." + std::to_string(i)] = UINT64_MAX;
    for (const char* text :
         {"{}", "[]", "7", R"({"kind":{"a":1},"cpu_features":[1,2]})",
          R"({"cpu_features":{"CPUID.1.0:ECX":"x","CPUID.7.0:EBX":-1,"":[]},"hpet":1,
              "tsc_khz":-7,"high_pins":"many","devices":{"a":null,"b":{}},"pci":7})"}) {
        const Json strange = described(text);
        for (const StateForm form : {StateForm::Own, StateForm::Neutral}) {
            (void)judge_machines(strange, strange, form);
            (void)judge_machines(strange, described(R"({"kind":"xen"})"), form);
            (void)judge_machines(described(R"({"kind":"xen"})"), strange, form);
        }
    }
    EXPECT_TRUE(
        between({{"cpu_features", many}}, {{"cpu_features", Json::object()}}).blocks.empty())
        << "more registers than any CPU has";
    for (const char* text : {"{}", "[]", R"({"state-form":7,"blocks":[],"warnings":[]})",
                             R"({"state-form":"own","blocks":[{"what":""}],"warnings":[]})",
                             R"({"state-form":"own","blocks":[7],"warnings":[]})",
                             R"({"state-form":"own","blocks":{},"warnings":[]})"})
        EXPECT_FALSE(Judgement::from_json(described(text))) << text;
    Json flood{{"state-form", "own"}, {"blocks", Json::array()}, {"warnings", Json::array()}};
    for (int i = 0; i < 300; ++i)
        flood["blocks"].push_back({{"what", "x"}});
    EXPECT_FALSE(Judgement::from_json(flood));
    const auto told = Judgement::from_json({{"state-form", "neutral"},
                                            {"blocks", {{{"what", "a\nb\x1b[1m"}}}},
                                            {"warnings", Json::array()}});
    ASSERT_TRUE(told);
    EXPECT_EQ(told->form, StateForm::Neutral);
    EXPECT_EQ(told->blocks.at(0).message, "a b [1m");
}

TEST(Judgement, NamesAndRegistersBelongTogether)
{
    EXPECT_EQ(feature_names("CPUID.7.0:EBX", 1U << 16 | 1U << 31), "avx512f, avx512vl");
    EXPECT_EQ(feature_names("CPUID.7.0:ECX", 1U << 31), "pks");
    EXPECT_EQ(feature_names("CPUID.1.0:EDX", 1U << 31 | 1), "fpu, pbe");
    EXPECT_EQ(feature_names("CPUID.9.0:EDX", 2), "bit 1 of CPUID.9.0:EDX");
    EXPECT_EQ(register_of_feature("amx-tile"), std::pair(std::string("CPUID.7.0:EDX"), 24U));
    EXPECT_EQ(register_of_feature("hypervisor"), std::pair(std::string("CPUID.1.0:ECX"), 31U));
    EXPECT_EQ(register_of_feature("lm"), std::pair(std::string("CPUID.80000001.0:EDX"), 29U));
    EXPECT_FALSE(register_of_feature("-"));
    EXPECT_FALSE(register_of_feature("flying"));
}

std::optional<Judgement> ask_of(MigrationRig& rig)
{
    std::optional<Result<LinkReport>> answer;
    std::unique_ptr<LinkProbe> probe;
    make_hello(rig.here, {.software = "drover test"}, [&](Result<stream::Hello> hello) {
        ASSERT_TRUE(hello);
        probe = std::make_unique<LinkProbe>(
            LinkProbe::Wish{
                .destination = {rig.address(), nullptr}, .hello = *hello, .measure = false},
            [&](Result<LinkReport> report) { answer = std::move(report); });
    });
    EXPECT_TRUE(run_until([&] { return answer.has_value(); }));
    return *answer ? (*answer)->judgement : std::nullopt;
}

/// Where translating would change nothing, what it cannot is not told.
TEST(Judgement, ADeviceThatIsMissingIsMissingInAnyForm)
{
    MigrationRig rig;
    rig.here.translates = rig.there.translates = true;
    for (Json* description : {&rig.here.description, &rig.there.description})
        (*description)["cpu_features"] = {{"CPUID.7.0:EBX", 1U << 16}};
    EXPECT_TRUE(ask_of(rig)->blocks.empty());
    rig.there.description["devices"].erase("/disk");
    const auto missing = ask_of(rig);
    ASSERT_EQ(missing->blocks.size(), 1U);
    EXPECT_TRUE(tells(missing->blocks, "/disk"));
    rig.there.description["accelerator"] = "another";
    EXPECT_TRUE(tells(ask_of(rig)->blocks, "avx512f"));
}

/// What is asked beforehand is answered as the migration is, and nothing comes of it.
TEST(Judgement, BeforehandAsInEarnest)
{
    MigrationRig rig;
    const Json fitting = rig.there.description;
    rig.there.description["cpus"] = 1;
    rig.there.description["devices"].erase("/disk");
    const auto judgement = ask_of(rig);
    ASSERT_TRUE(judgement);
    EXPECT_EQ(judgement->blocks.size(), 2U);
    rig.start();
    ASSERT_TRUE(rig.run_to_end());
    rig.expect_stayed();
    EXPECT_EQ("the destination: " + judgement->blocks.at(0).text(), rig.source_error()->text());
    ASSERT_TRUE(run_until([&] { return !rig.door->session(); }));

    rig.there.description = fitting;
    EXPECT_TRUE(ask_of(rig)->blocks.empty());
    EXPECT_TRUE(is_untouched(rig.there.fake_ram));
    rig.start();
    ASSERT_TRUE(rig.run_to_end());
    rig.expect_moved();
}

} // namespace
} // namespace drover::testing
