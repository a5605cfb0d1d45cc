// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/host/measure/history.h"

#include <gtest/gtest.h>

namespace drover::balancer {

namespace {

TimePoint at(int second)
{
    return TimePoint(std::chrono::seconds(10000 + second));
}

VmLoad vm_at(int second)
{
    VmLoad load;
    load.name = "web";
    load.time = 1.7e9 + second + 0.125;
    load.vcpus = 2;
    load.cpu = second;
    load.nics = {{"net0", 1e6, 1, 2, 3, 4, "eth0", second % 2 == 0}};
    return load;
}

} // namespace

TEST(History, KeepsAnHour)
{
    History<VmLoad> history;
    EXPECT_TRUE(history.last(3600).empty());
    for (int second = 0; second < 5000; ++second)
        history.add(at(second), vm_at(second));
    EXPECT_EQ(history.size(), 3600U);
    const auto all = history.last(1e9);
    ASSERT_EQ(all.size(), 3600U);
    EXPECT_EQ(all.front().cpu, 1400);
    EXPECT_EQ(all.back().cpu, 4999);
    EXPECT_EQ(all.back().time, 1.7e9 + 4999.125); // not rounded, as the other numbers may be
    EXPECT_EQ(history.last(10).size(), 11U);
    EXPECT_EQ(history.last(0).size(), 1U);
    EXPECT_EQ(history.last(-5).size(), 1U);
    EXPECT_EQ(history.last(std::nan("")).back().cpu, 4999);
}

TEST(History, GivesBackAllThatThereIs)
{
    HostLoad load;
    load.time = 5;
    load.slice = true;
    load.cores = 2;
    load.swap_out = 4096;
    load.cpu_by_core = {0.5, 0.25};
    load.memory_pressure = {0.5, 0.25};
    load.nics = {{"eth0", 1, 2, 3, 4, 5}};
    load.disks = {{"sda", 1, 2, 3, 0.5}};
    load.gaps = {"gap"};
    History<HostLoad> history;
    history.add(at(0), load);
    EXPECT_EQ(to_json(history.last(0)[0]), to_json(load));

    History<VmLoad> vms;
    for (int second = 0; second < 4; ++second)
        vms.add(at(second), vm_at(second));
    const auto loads = vms.last(100);
    ASSERT_EQ(loads.size(), 4U);
    for (int second = 0; second < 4; ++second)
        EXPECT_EQ(to_json(loads[static_cast<size_t>(second)]), to_json(vm_at(second)));
}

TEST(History, ShapesMayChange)
{
    History<HostLoad> history;
    HostLoad load;
    load.nics = {{"eth0", 1, 2, 3, 4, 5}};
    history.add(at(0), load);
    load.nics.push_back({"eth1", 6, 7, 8, 9, 10});
    load.cpu_by_core = {1};
    history.add(at(1), load);
    load.nics.erase(load.nics.begin());
    history.add(at(2), load);
    const auto loads = history.last(10);
    ASSERT_EQ(loads.size(), 3U);
    EXPECT_EQ(loads[0].nics.size(), 1U);
    EXPECT_EQ(loads[1].nics[1].drops, 10);
    EXPECT_EQ(loads[2].nics[0].name, "eth1");
    EXPECT_EQ(loads[2].nics[0].rx, 7);
}

} // namespace drover::balancer
