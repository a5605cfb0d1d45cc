// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/xen/guest/guest_config.h"

#include "vmm/xen/guest/disk_permission.h"
#include "vmm/xen/guest/model_arguments.h"
#include "vmm/xen/guest/ram_layout.h"

#include <filesystem>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace drover::xen {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
namespace fs = std::filesystem;

constexpr uint64_t some_memory = 512U << 20;

/// As a source of QEMU's describes a guest with a disk and a network card.
Json described()
{
    return parse_json(R"json({
        "kind": "qemu", "machine": "pc-i440fx-7.2", "cpus": 2, "name": "shop",
        "uuid": "0b0e3b7e-1f2d-4a0b-8a57-1c5d5f1e2a3b", "serial_ports": 1,
        "devices": {"blk0": "virtio-blk-pci", "nic0": "virtio-net-pci"},
        "pci": {"00.0": "8086:1237", "01.0": "8086:7000", "01.1": "8086:7010", "01.3": "8086:7113",
                "04.0": "1af4:1001 (blk0)", "05.0": "1af4:1000 (nic0)"},
        "hardware":
{
    "blk0" : {
        "type" : "virtio-blk-pci",
        "addr" : 32,
        "properties" : {"num-queues" : 2, "disable-legacy" : "off", "config-wce" : true},
        "disk" : {"file" : "/srv/shop.raw", "format" : "raw", "read_only" : false}
    },
             "nic0":
    {
        "type" : "virtio-net-pci", "addr" : 40, "properties":
        {
            "netdev" : "lan0", "mac" : "52:54:00:12:34:56"
        }
    }
}
})json")
        .value();
}

class Disks : public ::testing::Test {
protected:
    void SetUp() override
    {
        std::string pattern = fs::temp_directory_path() / "drover-disks-XXXXXX";
        root_ = fs::path(mkdtemp(pattern.data()));
        fs::create_directory(root_ / "allowed");
        fs::create_directory(root_ / "allowed-not");
        for (const char* name : {"allowed/disk", "allowed-not/disk", "secret"})
            std::ofstream(root_ / name) << "x";
        fs::create_symlink(root_ / "secret", root_ / "allowed/link");
    }
    void TearDown() override { fs::remove_all(root_); }

    [[nodiscard]] bool permits(const std::string& path) const
    {
        const std::string allowed[] = {(root_ / "allowed").string()};
        return permitted_disk(path, allowed).has_value();
    }
    [[nodiscard]] std::string path(const char* name) const { return (root_ / name).string(); }
    [[nodiscard]] LocalParts local() const
    {
        return {.disks = {path("allowed")}, .networks = {"tap,id=lan0,ifname=tap7,script=no"}};
    }
    [[nodiscard]] Json with_disk(const char* name) const
    {
        Json machine = described();
        machine["hardware"]["blk0"]["disk"]["file"] = path(name);
        return machine;
    }

    fs::path root_;
};

TEST_F(Disks, OnlyWhatIsAllowedIsADisk)
{
    EXPECT_TRUE(permits(path("allowed/disk")));
    EXPECT_FALSE(permits(path("secret")));
    EXPECT_FALSE(permits(path("allowed/link"))) << "a link out of the directory";
    EXPECT_FALSE(permits(path("allowed/../secret")));
    EXPECT_FALSE(permits(path("allowed-not/disk"))) << "a directory whose name only begins so";
    EXPECT_FALSE(permits(path("allowed"))) << "a directory";
    EXPECT_FALSE(permits(path("allowed/none")));
    EXPECT_FALSE(permits("/dev/null"));
    EXPECT_FALSE(permitted_disk(path("secret"), {}));
    const std::string one[] = {path("secret")};
    EXPECT_TRUE(permitted_disk(path("secret"), one)) << "a file that is named";
}

TEST_F(Disks, AGuestIsConfigured)
{
    const auto guest = announced_guest(with_disk("allowed/disk"), some_memory);
    ASSERT_TRUE(guest) << guest.error().text();
    const GuestConfig config = guest_config(*guest, local());
    EXPECT_THAT(config.open, ElementsAre());
    EXPECT_EQ(config.text,
              "name = \"shop\"\n"
              "uuid = \"0b0e3b7e-1f2d-4a0b-8a57-1c5d5f1e2a3b\"\n"
              "type = \"hvm\"\n"
              "memory = 512\n"
              "vcpus = 2\n"
              "vga = \"none\"\n"
              "vnc = 0\nsdl = 0\nusb = 0\nhpet = 0\nxen_platform_pci = 0\n"
              "nographic = 1\n"
              "serial = [\"pty\"]\n"
              "device_model_args_hvm = [\"-drive\", "
              "\"if=none,id=drover-disk0,format=raw,cache=writeback,file=" +
                  fs::canonical(path("allowed/disk")).string() +
                  "\", \"-device\", \"virtio-blk-pci,id=blk0,addr=04.0,num-queues=2,"
                  "disable-legacy=off,config-wce=on,drive=drover-disk0\", \"-netdev\", "
                  "\"tap,id=lan0,ifname=tap7,script=no\", \"-device\", "
                  "\"virtio-net-pci,id=nic0,addr=05.0,mac=52:54:00:12:34:56,netdev=lan0,"
                  "romfile=\"]\n");
}

TEST(AnnouncedGuest, EntropyAndBalloonAreConfigured)
{
    Json machine = described();
    machine["devices"] = {{"balloon0", "virtio-balloon-pci"}, {"rng0", "virtio-rng-pci"}};
    machine["hardware"] = {
        {"balloon0",
         {{"type", "virtio-balloon-pci"},
          {"addr", 56U},
          {"properties",
           {{"deflate-on-oom", true}, {"free-page-reporting", false}, {"vectors", 0U}}}}},
        {"rng0",
         {{"type", "virtio-rng-pci"},
          {"addr", 48U},
          {"properties", {{"rng", "/etc/shadow"}, {"max-bytes", 1024U}, {"period", 1000U}}}}}};
    const auto guest = announced_guest(machine, some_memory);
    ASSERT_TRUE(guest) << guest.error().text();
    const GuestConfig config = guest_config(*guest, {.balloon = true});
    EXPECT_THAT(config.open, ElementsAre());
    EXPECT_THAT(config.text,
                HasSubstr("[\"-object\", \"rng-builtin,id=drover-rng0\", \"-device\", "
                          "\"virtio-rng-pci,id=rng0,addr=06.0,max-bytes=1024,period=1000,"
                          "rng=drover-rng0\", \"-device\", "
                          "\"virtio-balloon-pci,id=balloon0,addr=07.0,deflate-on-oom=on\"]"));
    const auto refused = guest_config(*guest, {}).open;
    ASSERT_EQ(refused.size(), 1U);
    EXPECT_THAT(refused[0].text(), HasSubstr("-balloon idle"));
    machine["hardware"]["balloon0"]["properties"]["vectors"] = 2U; // from QEMU 8.0 on
    EXPECT_THAT(guest_config(*announced_guest(machine, some_memory), {}).text,
                HasSubstr("deflate-on-oom=on,vectors=2\""));
}

/// Where a guest uses it a device model of Xen's ends.
TEST(NotForXen, ABalloonThatIsInUse)
{
    Json machine = described();
    machine["devices"]["balloon0"] = "virtio-balloon-pci";
    machine["hardware"]["balloon0"] = {{"type", "virtio-balloon-pci"}, {"addr", 56}};
    machine["ballooned"] = 0;
    EXPECT_THAT(not_for_xen(machine), ElementsAre());
    machine["ballooned"] = (32U << 20) - 4096;
    EXPECT_THAT(not_for_xen(machine), ElementsAre(HasSubstr("balloon 'balloon0' has 32 MiB")));
    machine["ballooned"] = 0;
    machine["hardware"]["balloon0"]["properties"]["free-page-reporting"] = true;
    EXPECT_THAT(not_for_xen(machine), ElementsAre(HasSubstr("free-page-reporting=on")));
    EXPECT_EQ(without_neutral_form(machine), not_for_xen(machine));
}

TEST_F(Disks, WhatIsMissingIsTold)
{
    const auto guest = announced_guest(with_disk("secret"), some_memory);
    ASSERT_TRUE(guest);
    const GuestConfig config = guest_config(*guest, {.disks = {path("allowed")}});
    ASSERT_EQ(config.open.size(), 2U);
    EXPECT_THAT(config.open[0].text(), HasSubstr("-disks"));
    EXPECT_THAT(config.open[1].text(), HasSubstr("-netdev tap,id=lan0"));
    EXPECT_THAT(config.text, HasSubstr(path("secret"))) << "for an administrator to complete";
}

/// Each is a description that must not become a configuration.
TEST(AnnouncedGuest, HostileDescriptionsAreRefused)
{
    const std::pair<const char*, Json> changes[] = {
        {"/name", "a\"\nb"},
        {"/name", "../x"},
        {"/name", "7"},
        {"/cpus", 0},
        {"/cpus", 4096},
        {"/cpus", "2"},
        {"/serial_ports", 1000000},
        {"/hardware/blk0/addr", 3},
        {"/hardware/blk0/addr", 4096},
        {"/hardware/blk0/addr", "04.0,bus=x"},
        {"/hardware/blk0/properties/num-queues", "2,drive=x"},
        {"/hardware/blk0/properties/num-queues", 1U << 30},
        {"/hardware/blk0/properties/serial", "x,file=/etc/shadow"},
        {"/hardware/blk0/properties/disable-legacy", "off,x=y"},
        {"/hardware/blk0/properties/config-wce", Json::array({1})},
        {"/hardware/blk0/disk/format", "qcow2"},
        {"/hardware/blk0/disk/file", "nbd://host/x"},
        {"/hardware/blk0/disk/file", "json:{\"driver\":\"host_device\"}"},
        {"/hardware/blk0/disk/file", "/a\"b"},
        {"/hardware/blk0/disk/file", "/a\nb"},
        {"/hardware/blk0/disk/file", std::string(5000, '/')},
        {"/hardware/blk0/disk", nullptr},
        {"/hardware/blk0", nullptr},
        {"/hardware", 7},
        {"/hardware/nic0/properties/mac", "52:54:00:12:34:56,script=/x"},
        {"/hardware/nic0/properties/netdev", "lan0,script=/x"},
        {"/hardware/nic0/properties/netdev", "x\"y"},
    };
    for (const auto& [place, value] : changes) {
        Json machine = described();
        machine[Json::json_pointer(place)] = value;
        EXPECT_FALSE(announced_guest(machine, some_memory)) << place << " " << value;
    }
    Json machine = described();
    machine["devices"]["x,romfile=/etc/shadow"] = "virtio-blk-pci";
    machine["hardware"]["x,romfile=/etc/shadow"] = machine["hardware"]["blk0"];
    EXPECT_FALSE(announced_guest(machine, some_memory)) << "the name of a device";
    for (int i = 0; i < 20; ++i) {
        const std::string name = "blk" + std::to_string(i);
        machine["devices"][name] = "virtio-blk-pci";
        machine["hardware"][name] = described()["hardware"]["blk0"];
    }
    EXPECT_FALSE(announced_guest(machine, some_memory)) << "too many";
}

TEST(AnnouncedGuest, NothingUnknownIsTakenOver)
{
    Json machine = described();
    machine["hardware"]["blk0"]["properties"]["romfile"] = "/etc/shadow";
    machine["hardware"]["blk0"]["properties"]["iothread"] = "x";
    const auto guest = announced_guest(machine, some_memory);
    ASSERT_TRUE(guest);
    EXPECT_THAT(guest_config(*guest, {}).text, Not(HasSubstr("shadow")));
    EXPECT_THAT(guest_config(*guest, {}).text, Not(HasSubstr("iothread")));
}

TEST(AnnouncedGuest, DrivesOfTheMachinesOwn)
{
    Json machine = described();
    machine["drives"] = {{"ide0-hd0", {{"file", "/srv/a.raw"}, {"format", "raw"}}},
                         {"ide1-cd0", Json::object()},
                         {"floppy0", Json::object()}};
    const auto guest = announced_guest(machine, some_memory);
    ASSERT_TRUE(guest) << guest.error().text();
    const GuestConfig config = guest_config(*guest, {});
    EXPECT_THAT(config.text, HasSubstr("if=ide,index=0,media=disk,format=raw,cache=writeback,"
                                       "file=/srv/a.raw\""));
    EXPECT_THAT(config.text, HasSubstr("if=ide,index=2,media=cdrom\""));
    EXPECT_FALSE(config.open.empty()) << "the disk is not allowed";
    for (const char* name : {"floppy0", "virtio0", "ide2-hd0", "ide0-xd0", "ide0-hd0x", "sd0"}) {
        machine["drives"] = Json::object();
        machine["drives"][name] = Json{{"file", "/srv/a.raw"}, {"format", "raw"}};
        EXPECT_FALSE(announced_guest(machine, some_memory)) << name;
    }
}

TEST(NotForXen, DevicesAreNamed)
{
    EXPECT_THAT(not_for_xen(described()), ElementsAre());
    Json machine = described();
    machine["devices"]["gpu0"] = "virtio-gpu-pci";
    machine["pci"]["03.0"] = "1af4:1050 (gpu0)";
    EXPECT_THAT(not_for_xen(machine),
                ElementsAre("'virtio-gpu-pci' 'gpu0' at slot '03.0': no neutral form; detach it "
                            "(device_del)"));
    machine = described();
    machine["devices"]["nic0"] = "rtl8139";
    machine["devices"]["unnamed device[3]"] = "ide-hd";
    machine["drives"] = {{"ide0-hd0", {{"file", "/srv/a.raw"}}}, {"ide1-cd0", Json::object()}};
    EXPECT_THAT(
        not_for_xen(machine),
        ElementsAre(
            "'rtl8139' 'nic0' at slot '05.0': no neutral form; give the guest virtio-net-pci "
            "instead, or detach it (device_del)",
            "'ide-hd' 'unnamed device[3]': no neutral form; give the guest "
            "virtio-blk-pci instead, or detach it (device_del)",
            "drive 'ide0-hd0': what is on the machine's own controllers does not go "
            "along; give the guest virtio-blk-pci instead, or eject it"));
    EXPECT_EQ(without_neutral_form(machine), not_for_xen(machine));
    machine = described();
    machine["pci"]["02.0"] = "1234:1111";
    EXPECT_THAT(not_for_xen(machine), ElementsAre(HasSubstr("1234:1111")));
    machine = described();
    machine["machine"] = "pc-q35-7.2";
    EXPECT_THAT(not_for_xen(machine), ElementsAre(HasSubstr("-M pc")));
    EXPECT_FALSE(not_for_xen(Json(7)).empty());
}

Json config_with_hole(uint64_t mib)
{
    return {{"b_info", {{"type.hvm", {{"mmio_hole_memkb", mib << 10}}}}}};
}

TEST(XlCpuid, HidesWhatTheGuestHasNotSeen)
{
    const Json seen{{"CPUID.1.0:ECX", 0x1U}, {"CPUID.1.0:EDX", 0xffU}};
    const Json offered{
        {"CPUID.1.0:ECX", 0x2001U | 1U << 31}, {"CPUID.1.0:EDX", 0xffU}, {"CPUID.7.0:EBX", 0x20U}};
    const auto hidden = features_to_hide(seen, offered);
    EXPECT_EQ(hidden.at("CPUID.1.0:ECX"), 0x2000U) << "but not that there is a hypervisor";
    EXPECT_FALSE(hidden.contains("CPUID.7.0:EBX")) << "which its source does not tell";
    EXPECT_THAT(xl_cpuid_words(hidden), ElementsAre("0x1:ecx=xxxxxxxxxxxxxxxxxx0xxxxxxxxxxxxx"));
    EXPECT_EQ(without_features(offered, hidden)["CPUID.1.0:ECX"], 1U | 1U << 31);
    EXPECT_TRUE(features_to_hide(parse_json("7").value(), offered).empty());
    EXPECT_EQ(xl_cpuid_word("CPUID.7.0:EBX", 0x20), "0x7,0:ebx=xxxxxxxxxxxxxxxxxxxxxxxxxx0xxxxx");
    EXPECT_EQ(xl_cpuid_word("anything", 1), "");
}

TEST_F(Disks, AGuestKeepsItsCpu)
{
    auto guest = announced_guest(described(), some_memory);
    ASSERT_TRUE(guest);
    EXPECT_THAT(guest_config(*guest, local()).text, Not(HasSubstr("cpuid")));
    guest->hidden_features = {{"CPUID.1.0:ECX", 1}};
    EXPECT_THAT(guest_config(*guest, local()).text,
                HasSubstr("cpuid = [\"0x1:ecx=xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx0\"]\n"));
}

TEST(RamLayout, OfADomain)
{
    constexpr uint64_t gib = 1ULL << 30;
    EXPECT_EQ(ram_layout(2 * gib, Json::object()).low, 2 * gib);
    EXPECT_EQ(ram_layout(8 * gib, Json::object()).low, 0xf0000000U);
    EXPECT_EQ(ram_layout(8 * gib, config_with_hole(1024)).low, 3 * gib);
    const qemu::PcMemory cut = ram_layout(5 * gib, config_with_hole(1024));
    constexpr uint64_t low_pages = 0xc0000;
    constexpr uint64_t high = 0x100000;
    EXPECT_EQ(cut.frame_of(low_pages - 1), low_pages - 1);
    EXPECT_EQ(cut.frame_of(low_pages), high);
    EXPECT_EQ(cut.page_of(high + 5), low_pages + 5);
    EXPECT_EQ(cut.pages_in_a_row(low_pages - 3), 3U);
    EXPECT_EQ(cut.pages_in_a_row(low_pages), 0x80000U);
    EXPECT_EQ(cut.end_frame(), high + 0x80000);
    EXPECT_EQ(ram_layout(gib, Json::object()).end_frame(), 0x40000U);
}

/// What a source of QEMU's has below 4 GiB, its domain must have there, too.
TEST(RamLayout, OfAGuestOfQemus)
{
    constexpr uint64_t mib = 1ULL << 20;
    const auto hole = [](uint64_t memory, uint64_t limit) {
        return hole_for(layout_of_source(Json{{"max_ram_below_4g", limit}}, memory));
    };
    constexpr uint64_t usual = qemu::PcMemory::usual_limit;
    EXPECT_EQ(hole(3583 * mib, usual), 0U);
    EXPECT_EQ(hole(3584 * mib, usual), 1024U) << "QEMU cuts it at 3 GiB";
    EXPECT_EQ(hole(3700 * mib, 3840 * mib), 0U);
    EXPECT_EQ(hole(2048 * mib, 1024 * mib), 3072U);

    const Json source{{"max_ram_below_4g", usual}};
    EXPECT_TRUE(check_layout(source, ram_layout(4096 * mib, config_with_hole(1024))));
    const Status wrong = check_layout(source, ram_layout(4096 * mib, Json::object()));
    ASSERT_FALSE(wrong);
    EXPECT_THAT(wrong.error().text(), HasSubstr("mmio_hole=1024"));
    const Status without = check_layout(source, ram_layout(2048 * mib, config_with_hole(3072)));
    ASSERT_FALSE(without);
    EXPECT_THAT(without.error().text(), HasSubstr("leave mmio_hole out"));
}

TEST(RamLayout, IsPartOfADerivedConfiguration)
{
    const auto hole_line = [](uint64_t memory) {
        const auto guest = announced_guest(described(), memory);
        EXPECT_TRUE(guest);
        return guest_config(*guest, {}).text.find("mmio_hole = 1024\n") != std::string::npos;
    };
    EXPECT_TRUE(hole_line(4ULL << 30));
    EXPECT_FALSE(hole_line(some_memory));
}

TEST(ModelArguments, DevicesOfAConfiguration)
{
    const Json build{{"extra", Json::array({"-device", "virtio-net-pci,id=nic0"})},
                     {"extra_hvm", Json::array({"-drive", "if=none", "-device",
                                                "driver=virtio-blk-pci,drive=x", "-device"})}};
    EXPECT_EQ(devices_of_arguments(build),
              (Json{{"nic0", "virtio-net-pci"}, {"unnamed device[0]", "virtio-blk-pci"}}));
    EXPECT_EQ(devices_of_arguments(Json::object()), Json::object());
}

TEST(ModelArguments, DisksOfXlsOwnAreRefused)
{
    EXPECT_TRUE(check_no_own_disks(Json::object()));
    Json config{{"disks", Json::array({Json{{"vdev", "hdc"}, {"is_cdrom", true}}})}};
    EXPECT_TRUE(check_no_own_disks(config)) << "an empty CD-ROM drive";
    config["disks"].push_back(Json{{"vdev", "hda"}, {"pdev_path", "/dev/vg/web1"}});
    const Status disk = check_no_own_disks(config);
    ASSERT_FALSE(disk);
    EXPECT_THAT(disk.error().text(), HasSubstr("drive hda"));
    config["disks"] = Json::array({Json{{"vdev", "xvda"}, {"script", "block-drbd"}}});
    EXPECT_FALSE(check_no_own_disks(config));
}

} // namespace
} // namespace drover::xen
