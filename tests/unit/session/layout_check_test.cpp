// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/session/compatibility.h"
#include "migration/session/layout_check.h"

#include <gtest/gtest.h>

namespace drover {
namespace {

Json machine(const char* text)
{
    return *parse_json(text);
}

std::string refusal(const char* source, const char* destination)
{
    const Status status = check_layout(machine(source), machine(destination));
    return status ? "" : status.error().text();
}

std::string features(uint64_t here, uint64_t there, const char* name = "CPUID.1.0:ECX")
{
    const Status status = check_machines(Json{{"cpu_features", {{name, here}}}},
                                         Json{{"cpu_features", {{name, there}}}});
    return status ? "" : status.error().text();
}

TEST(LayoutCheck, WhatIsNotToldIsNotCompared)
{
    EXPECT_EQ(refusal("{}", "{}"), "");
    EXPECT_EQ(refusal(R"({"topology":{"maxcpus":4}})", R"({"topology":{"modules":1}})"), "");
    EXPECT_EQ(refusal(R"({"pci":{"02.0":"1af4:1000"}})", "{}"), "");
    EXPECT_EQ(refusal(R"({"pci":7,"dimms":[],"own_memory":"x"})", R"({"pci":null})"), "");
}

TEST(LayoutCheck, NamesWhatDiffers)
{
    EXPECT_NE(refusal(R"({"topology":{"maxcpus":4}})", R"({"topology":{"maxcpus":8}})")
                  .find("maxcpus is 4 at the source and 8"),
              std::string::npos);
    EXPECT_NE(
        refusal(R"({"cpu":{"vendor":"GenuineIntel"}})", R"({"cpu":{"vendor":"AuthenticAMD"}})")
            .find("vendor is GenuineIntel"),
        std::string::npos);
    EXPECT_NE(refusal(R"({"dimms":{"d1":"0x1"}})", R"({"dimms":{"d1":"0x2"}})").find("addr="),
              std::string::npos);
    EXPECT_NE(refusal(R"({"pci":{"02.0":"a","03.0":"b"}})", R"({"pci":{"02.0":"b","03.0":"a"}})")
                  .find("02.0 is a at the source"),
              std::string::npos);
    EXPECT_NE(
        refusal(R"({"pci":{"02.0":"a"}})", R"({"pci":{"02.0":"a","03.0":"b"}})").find("b at 03.0"),
        std::string::npos);
    EXPECT_NE(
        refusal(R"({"pci":{"02.0":"a","03.0":"b"}})", R"({"pci":{"02.0":"a"}})").find("at 03.0"),
        std::string::npos);
}

TEST(LayoutCheck, MemoryOfTheHypervisorsOwn)
{
    const char* vga16 = R"({"own_memory":{"vga.vram":{"used":16,"total":16}}})";
    const char* vga32 = R"({"own_memory":{"vga.vram":{"used":32,"total":32}}})";
    const char* none = R"({"own_memory":{"pc.bios":{"used":1,"total":1}}})";
    EXPECT_EQ(refusal(vga16, vga16), "");
    EXPECT_NE(refusal(vga16, vga32).find("16 bytes at the source and 32"), std::string::npos);
    EXPECT_NE(refusal(vga32, vga16).find("32 bytes at the source and 16"), std::string::npos);
    EXPECT_NE(refusal(vga16, none).find("no memory vga.vram"), std::string::npos);
    const char* small = R"({"own_memory":{"acpi":{"used":2,"total":8}}})";
    const char* large = R"({"own_memory":{"acpi":{"used":6,"total":8}}})";
    EXPECT_EQ(refusal(small, large), "");
    EXPECT_EQ(refusal(large, small), "");
    EXPECT_NE(refusal(large, R"({"own_memory":{"acpi":{"used":2,"total":4}}})"), "");
}

TEST(LayoutCheck, TheGuestsCpuStaysAsItSeesIt)
{
    EXPECT_EQ(features(5, 5), "");
    EXPECT_NE(features(5, 1).find("lacks features"), std::string::npos);
    EXPECT_NE(features(1, 5).find("has not seen so far"), std::string::npos);
    EXPECT_EQ(features(1, 1 | 1U << 27), "");                         // OSXSAVE
    EXPECT_EQ(features(1 | 1U << 28, 1, "CPUID.1.0:EDX"), "");        // HTT
    EXPECT_NE(features(1 | 1U << 28, 1, "CPUID.80000001.0:EDX"), ""); // another bit 28
}

std::string across(const char* source, const char* destination)
{
    const Status status = check_machines(machine(source), machine(destination), StateForm::Neutral);
    return status ? "" : status.error().text();
}

/// Between kinds the machine's version and the CPU's name say nothing; all else has to be the same.
TEST(MachineCheck, BetweenKindsOfHypervisors)
{
    const char* on_xen = R"({"kind":"xen","machine":"pc-i440fx-7.2","cpus":1,"devices":{}})";
    EXPECT_EQ(across(on_xen, R"({"kind":"qemu","machine":"pc-i440fx-10.0","cpu_model":"qemu64",
                                 "cpus":1,"devices":{"unnamed device[0]":"ivshmem-plain"}})"),
              "");
    const char* born_there =
        R"({"kind":"xen","machine":"pc-i440fx-7.2","cpus":1,"firmware_tables":true})";
    EXPECT_EQ(across(born_there, R"({"kind":"qemu","machine":"pc-i440fx-7.2","cpus":1,
                                     "devices":{"unnamed device[0]":"ivshmem-plain"}})"),
              "");
    EXPECT_NE(across(born_there, R"({"kind":"qemu","machine":"pc-i440fx-7.2","cpus":1})")
                  .find("id=acpihole"),
              std::string::npos);
    EXPECT_NE(across(on_xen, R"({"kind":"qemu","machine":"pc-q35-7.2","cpus":1})"), "");
    EXPECT_NE(across(on_xen, R"({"kind":"qemu","machine":"pc-i440fx-7.2","cpus":2})"), "");
    EXPECT_NE(across(on_xen, R"({"kind":"qemu","machine":"pc-i440fx-7.2","cpus":1,
                                 "devices":{"rng":"virtio-rng-pci"}})"),
              "");
}

TEST(MachineCheck, WhereMemoryLiesUnderXenAndQemu)
{
    const Json xen{{"kind", "xen"}, {"machine", "pc-i440fx-7.2"}, {"memory", 2ULL << 30}};
    Json qemu{{"kind", "qemu"}, {"machine", "pc-i440fx-7.2"}, {"max_ram_below_4g", 1ULL << 30}};
    EXPECT_FALSE(check_machines(xen, qemu, StateForm::Neutral));
    EXPECT_FALSE(check_machines(qemu, xen, StateForm::Neutral));
    qemu["max_ram_below_4g"] = 0xe0000000ULL;
    EXPECT_TRUE(check_machines(xen, qemu, StateForm::Neutral));
    EXPECT_TRUE(check_machines(qemu, xen, StateForm::Neutral));
}

/// A guest with so much that PCI devices' windows are in its way.
TEST(MachineCheck, WhereMuchMemoryLiesUnderXenAndQemu)
{
    Json xen{{"kind", "xen"}, {"machine", "pc-i440fx-7.2"}, {"memory", 4ULL << 30}};
    Json qemu{{"kind", "qemu"}, {"machine", "pc-i440fx-7.2"}, {"max_ram_below_4g", 0xe0000000ULL}};
    xen["ram_below_4g"] = 0xc0000000ULL;
    EXPECT_TRUE(check_machines(qemu, xen, StateForm::Neutral));
    EXPECT_TRUE(check_machines(xen, qemu, StateForm::Neutral));
    xen["ram_below_4g"] = 0xf0000000ULL;
    const Status cut = check_machines(xen, qemu, StateForm::Neutral);
    ASSERT_FALSE(cut);
    EXPECT_NE(cut.error().text().find("mmio_hole=1024"), std::string::npos) << cut.error().text();
    xen["memory"] = xen["ram_below_4g"] = 3700ULL << 20;
    const Status whole = check_machines(xen, qemu, StateForm::Neutral);
    ASSERT_FALSE(whole);
    EXPECT_NE(whole.error().text().find("max-ram-below-4g=3840M"), std::string::npos);
    qemu["max_ram_below_4g"] = 3840ULL << 20;
    EXPECT_TRUE(check_machines(xen, qemu, StateForm::Neutral));
}

TEST(MachineCheck, SlotsUnderXenAndQemu)
{
    const Json xen{
        {"kind", "xen"}, {"machine", "pc-i440fx-7.2"}, {"pci", {{"04.0", "1af4:1001 (blk0)"}}}};
    Json qemu{{"kind", "qemu"},
              {"machine", "pc-i440fx-7.2"},
              {"pci", {{"04.0", "1af4:1001 (blk0)"}, {"02.0", "1af4:1110"}}}};
    EXPECT_TRUE(check_machines(xen, qemu, StateForm::Neutral)) << "the place of Xen's tables";
    qemu["pci"] = {{"05.0", "1af4:1001 (blk0)"}};
    EXPECT_FALSE(check_machines(xen, qemu, StateForm::Neutral)) << "another slot";
}

TEST(MachineCheck, OfOneKindMachineAndCpuAreTheSame)
{
    const char* here = R"({"kind":"qemu","machine":"pc-i440fx-7.2","cpu_model":"qemu64","cpus":1})";
    EXPECT_EQ(across(here, here), "");
    EXPECT_NE(across(here, R"({"kind":"qemu","machine":"pc-i440fx-10.0","cpu_model":"qemu64",
                               "cpus":1})"),
              "");
    EXPECT_NE(across(here, R"({"kind":"qemu","machine":"pc-i440fx-7.2","cpu_model":"Nehalem",
                               "cpus":1})"),
              "");
    EXPECT_NE(across(here, R"({"kind":"qemu","machine":"pc-i440fx-7.2","cpu_model":"qemu64",
                               "cpus":1,"devices":{"unnamed device[0]":"ivshmem-plain"}})"),
              "");
}

} // namespace
} // namespace drover
