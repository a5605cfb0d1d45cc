// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/layout.h"

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

} // namespace
} // namespace drover::qemu
