// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/layout.h"

#include "vmm/qemu/hardware.h"

#include <gtest/gtest.h>

namespace drover::qemu {
namespace {

TEST(Layout, ReadsRamBlocksOfOldAndNewQemus)
{
    const std::string old = "              Block Name    PSize              Offset               "
                            "Used              Total\n"
                            "                  pc.ram    4 KiB  0x0000000000400000 "
                            "0x0000000004000000 0x0000000004000000\n"
                            "                            4 KiB  0x0000000000000000 "
                            "0x0000000000400000 0x0000000000400000\n"
                            "    /rom@etc/acpi/tables    4 KiB  0x0000000004480000 "
                            "0x0000000000020000 0x0000000000200000\n";
    const Json blocks = own_memory(old);
    EXPECT_EQ(blocks, (Json{{"pc.ram", {{"used", 0x4000000}, {"total", 0x4000000}}},
                            {"/rom@etc/acpi/tables", {{"used", 0x20000}, {"total", 0x200000}}}}));
    const std::string newer = "pc.bios    4 KiB  0x1 0x40000 0x40000 0x00007f1234560000 ro\n";
    EXPECT_EQ(own_memory(newer), (Json{{"pc.bios", {{"used", 0x40000}, {"total", 0x40000}}}}));
    EXPECT_TRUE(own_memory("nothing\n0x1 0x2 0x3\n").empty());
}

TEST(Layout, ReadsPciPlacesOfTheFirstBus)
{
    const Json buses = *parse_json(
        R"([{"bus":0,"devices":[{"slot":2,"function":1,"qdev_id":"bal","id":{"vendor":6900,"device":4098}},
            {"slot":3,"id":{"vendor":1,"device":2}},{"slot":9}]},{"bus":1,"devices":[{"slot":1}]}])");
    EXPECT_EQ(pci_places(buses), (Json{{"02.1", "1af4:1002 (bal)"}, {"03.0", "0001:0002"}}));
    EXPECT_TRUE(pci_places(Json::array()).empty());
    EXPECT_TRUE(pci_places(Json("x")).empty());
    EXPECT_TRUE(pci_places(*parse_json(R"([{"bus":0}])")).empty());
}

TEST(Layout, ReadsMemoryDevices)
{
    const Json devices = *parse_json(
        R"([{"type":"dimm","data":{"id":"d1","addr":4294967296}},
            {"type":"virtio-mem","data":{"id":"v","memaddr":4096}},{"type":"x"}])");
    EXPECT_EQ(dimm_places(devices), (Json{{"d1", "0x100000000"}, {"v", "0x1000"}}));
}

TEST(Hardware, DisksAreTheirDevices)
{
    Json description{{"hardware",
                      {{"blk0", {{"type", "virtio-blk-pci"}}},
                       {"unnamed device[1]", {{"type", "virtio-blk-pci"}}}}}};
    add_disks(description, *parse_json(R"([
        {"device": "disk0", "qdev": "/machine/peripheral/blk0/virtio-backend",
         "inserted": {"file": "/a", "drv": "raw", "ro": true}},
        {"device": "", "qdev": "/machine/peripheral-anon/device[1]/virtio-backend",
         "inserted": {"file": "/b", "drv": "qcow2", "ro": false}},
        {"device": "ide1-cd0", "qdev": "/machine/unattached/device[23]"},
        {"device": "ide0-hd0", "qdev": "/machine/unattached/device[22]",
         "inserted": {"file": "/c", "drv": "raw"}},
        {"device": "nobodys"}, 7])"));
    const Json& hardware = description["hardware"];
    EXPECT_EQ(hardware["blk0"]["disk"],
              (Json{{"file", "/a"}, {"format", "raw"}, {"read_only", true}}));
    EXPECT_EQ(hardware["unnamed device[1]"]["disk"]["format"], "qcow2");
    EXPECT_EQ(description["drives"].size(), 2U);
    EXPECT_EQ(description["drives"]["ide1-cd0"], Json::object());
    EXPECT_EQ(description["drives"]["ide0-hd0"]["file"], "/c");
}

} // namespace
} // namespace drover::qemu
