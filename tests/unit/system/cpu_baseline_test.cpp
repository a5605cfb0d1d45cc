// SPDX-License-Identifier: GPL-2.0-or-later
#include "tools/cpu_baseline.h"

#include <gtest/gtest.h>

namespace drover::tools {
namespace {

const FeatureNames plain = {"fpu", "lm", "sse", "sse2"};

FeatureNames with(FeatureNames names, const FeatureNames& more)
{
    names.insert(more.begin(), more.end());
    return names;
}

CpuHost host(const std::string& name, const FeatureNames& features)
{
    CpuHost made;
    made.name = name;
    made.version = "7.2.0";
    made.accelerator = "kvm";
    made.vendor = "GenuineIntel";
    made.features = features;
    made.known = with(features, {"aes", "avx", "avx2", "xsave", "pku", "svm", "vmx"});
    made.models = {{"Old-v1", plain}, {"New-v1", with(plain, {"aes", "avx", "xsave"})}};
    return made;
}

bool mentions(const std::vector<std::string>& lines, const std::string& words)
{
    return std::ranges::any_of(
        lines, [&](const std::string& line) { return line.find(words) != std::string::npos; });
}

TEST(CpuBaseline, TheNearestModelAndWhatIsSaidBesides)
{
    const auto same = cpu_baseline({host("a", with(plain, {"aes", "avx", "xsave", "avx2"}))});
    ASSERT_TRUE(same);
    EXPECT_EQ(same->words, "New-v1,+avx2");
    EXPECT_EQ(same->xcr0, 7U);
    EXPECT_EQ(same->xsave_bytes, 832U);
    const auto common = cpu_baseline({host("a", with(plain, {"aes", "avx", "xsave"})),
                                      host("b", with(plain, {"aes", "vmx", "hypervisor"}))});
    ASSERT_TRUE(common);
    EXPECT_EQ(common->words, "Old-v1,+aes");
    EXPECT_TRUE(mentions(common->left_out, "avx: not on b"));
    EXPECT_FALSE(mentions(common->left_out, "vmx")) << "no part of a baseline";
    EXPECT_EQ(common->xcr0, 0U);
    EXPECT_EQ(common->registers.at("CPUID.1.0:ECX"), 1U << 25);
}

/// As drover-xen cpus tells it. AVX is bit 28, AES bit 25 of CPUID.1.0:ECX; bit 12 of CPUID.7.0:ECX
/// has no name.
CpuHost xen_host()
{
    auto made = CpuHost::from_json(
        "dom0", Json{{"version", "4.17"},
                     {"accelerator", "xen"},
                     {"vendor", "GenuineIntel"},
                     {"features", {"fpu", "lm", "sse", "sse2", "aes", "avx", "xsave", "svm"}},
                     {"known", Json::array()},
                     {"models", Json::object()},
                     {"registers",
                      {{"CPUID.1.0:ECX", 0x96200000U},
                       {"CPUID.7.0:ECX", 0x1000U},
                       {"CPUID.80000001.0:ECX", 0x4U}}}});
    EXPECT_TRUE(made);
    return *made;
}

TEST(CpuBaseline, XenHostsHaveNoModelsAndHideBits)
{
    const auto common =
        cpu_baseline({xen_host(), host("b", with(plain, {"aes", "x2apic", "avx2"}))});
    ASSERT_TRUE(common) << common.error().text();
    EXPECT_EQ(common->words, "Old-v1,+aes,+x2apic,kvm=off");
    EXPECT_TRUE(mentions(common->left_out, "avx: not on b"));
    EXPECT_TRUE(mentions(common->left_out, "avx2: not on dom0"));
    EXPECT_FALSE(mentions(common->left_out, "x2apic")) << "its use shows in the state";
    EXPECT_EQ(common->xl_words.at("dom0"), "[ \"0x1:ecx=xxx0x0xxxxxxxxxxxxxxxxxxxxxxxxxx\", "
                                           "\"0x7,0:ecx=xxxxxxxxxxxxxxxxxxx0xxxxxxxxxxxx\" ]");
    const auto alone = cpu_baseline({xen_host()});
    ASSERT_TRUE(alone);
    EXPECT_EQ(alone->words, "");
    EXPECT_TRUE(alone->features.contains("avx"));
}

TEST(CpuBaseline, AXenHostTellsItsRegisters)
{
    EXPECT_FALSE(CpuHost::from_json("dom0", Json{{"accelerator", "xen"},
                                                 {"features", Json::array()},
                                                 {"known", Json::array()},
                                                 {"models", Json::object()}}));
}

/// A model of one name may mean another thing elsewhere: what differs is said.
TEST(CpuBaseline, TheSameComesOfItOnEachHost)
{
    CpuHost newer = host("b", plain);
    newer.models["Old-v1"].insert("avx2");
    const auto common = cpu_baseline({host("a", plain), newer});
    ASSERT_TRUE(common);
    EXPECT_EQ(common->words, "Old-v1,-avx2");
    CpuHost ignorant = host("c", plain);
    ignorant.known.erase("avx2");
    const auto other = cpu_baseline({ignorant, newer});
    ASSERT_TRUE(other);
    EXPECT_EQ(other->words, "New-v1,-aes,-avx,-xsave") << "host c would not understand -avx2";
}

TEST(CpuBaseline, AcrossVendorsAndAccelerators)
{
    CpuHost amd = host("amd", with(plain, {"xsave", "avx", "pku"}));
    amd.vendor = "AuthenticAMD";
    const auto spanning = cpu_baseline({host("intel", with(plain, {"xsave", "avx", "pku"})), amd});
    ASSERT_TRUE(spanning);
    EXPECT_TRUE(mentions(spanning->left_out, "pku: it has another place"));
    EXPECT_TRUE(mentions(spanning->notes, "SYSENTER"));
    CpuHost tcg = host("tcg", plain);
    tcg.accelerator = "tcg";
    const auto mixed = cpu_baseline({host("kvm", plain), tcg});
    ASSERT_TRUE(mixed);
    EXPECT_EQ(mixed->words, "Old-v1,kvm=off");
    EXPECT_TRUE(mixed->notes.size() == 1 && mentions(mixed->notes, "kvm=off"));
}

TEST(CpuBaseline, WhatCannotBeIsSaid)
{
    EXPECT_FALSE(cpu_baseline({}));
    const auto none = cpu_baseline({host("a", plain), host("b", {"fpu"})});
    ASSERT_FALSE(none);
    EXPECT_NE(none.error().message.find("not on b"), std::string::npos);
    CpuHost other = host("b", plain);
    other.models = {{"Third-v1", plain}};
    EXPECT_FALSE(cpu_baseline({host("a", plain), other}));
}

TEST(CpuBaseline, HostileDescriptions)
{
    const Json good{{"version", "7.2"},   {"accelerator", "tcg"}, {"vendor", "x"},
                    {"features", {"lm"}}, {"known", {"lm"}},      {"models", {{"Old-v1", {"lm"}}}}};
    EXPECT_TRUE(CpuHost::from_json("h", good));
    EXPECT_FALSE(CpuHost::from_json("h", Json()));
    EXPECT_FALSE(CpuHost::from_json("h", Json::array()));
    const auto broken = [&good](const char* member, Json value) {
        Json changed = good;
        changed[member] = std::move(value);
        return !CpuHost::from_json("h", changed);
    };
    EXPECT_TRUE(broken("features", "lm"));
    EXPECT_TRUE(broken("features", {"lm,vendor=x"}));
    EXPECT_TRUE(broken("features", {7}));
    EXPECT_TRUE(broken("features", Json(std::vector<std::string>(5000, "x"))));
    EXPECT_TRUE(broken("known", Json()));
    EXPECT_TRUE(broken("models", {{"Old-v1", "lm"}}));
    EXPECT_TRUE(broken("models", {{"$(reboot)", {"lm"}}}));
    EXPECT_TRUE(broken("accelerator", ""));
}

} // namespace
} // namespace drover::tools
