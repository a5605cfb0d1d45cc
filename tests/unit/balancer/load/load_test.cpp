// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/load/load.h"

#include <gtest/gtest.h>

namespace drover::balancer {

namespace {

HostLoad some_host()
{
    HostLoad load;
    load.time = 1700000000.25;
    load.slice = true;
    load.cores = 4;
    load.cpu_busy = 3.5;
    load.cpu_steal = 0.25;
    load.cpu_by_core = {1, 0.5, 1, 1};
    load.memory_total = 8e9;
    load.memory_available = 1e9;
    load.swap_total = 2e9;
    load.swap_used = 1e8;
    load.swap_in = 4096;
    load.swap_out = 8192;
    load.cpu_pressure = {0.5, 0.125};
    load.memory_pressure = {0.25, 0};
    load.io_pressure = {0, 0.75};
    load.nics = {{"eth0", 125e6, 1, 2, 3, 4}, {"eth1", 0, 5, 6, 7, 8}};
    load.migration_nic = "eth1";
    load.migration_capacity = 1e6;
    load.cpu_migrating = 0.5;
    load.disks = {{"sda", 10, 20, 0.005, 0.5}};
    load.gaps = {"no pressure: the kernel has none"};
    return load;
}

VmLoad some_vm()
{
    VmLoad load;
    load.name = "web-1";
    load.time = 1700000001;
    load.vcpus = 3;
    load.cpu = 1.5;
    load.cpu_wait = 0.5;
    load.memory = 1e9;
    load.resident = 5e8;
    load.swapped = 1e6;
    load.dirty_rate = 7e6;
    load.disk_read = 11;
    load.disk_write = 12;
    load.nics = {{"net0", 25e6, 1, 2, 3, 4, "eth0", true}, {"net1", 0, 5, 6, 7, 8, "", false}};
    load.gaps = {"a", "b"};
    return load;
}

Json parsed(const char* text)
{
    return Json::parse(text);
}

} // namespace

TEST(Load, HostSurvivesJson)
{
    const Json json = to_json(some_host());
    const auto text = parse_json(dump_json(json));
    ASSERT_TRUE(text);
    EXPECT_EQ(to_json(host_load_from_json(*text)), json);
    EXPECT_EQ(json["cpu-by-core"], Json({1.0, 0.5, 1.0, 1.0}));
    EXPECT_EQ(json["io-pressure"]["full"], 0.75);
    EXPECT_EQ(json["nics"][1]["backlog"], 7.0);
    EXPECT_EQ(json["disks"][0]["latency"], 0.005);
    EXPECT_EQ(json["memory-available"], 1e9);
    EXPECT_EQ(json["slice"], true);
}

TEST(Load, VmSurvivesJson)
{
    const Json json = to_json(some_vm());
    const auto text = parse_json(dump_json(json));
    ASSERT_TRUE(text);
    EXPECT_EQ(to_json(vm_load_from_json(*text)), json);
    EXPECT_EQ(json["nics"][0]["wants-more"], true);
    EXPECT_EQ(json["nics"][1]["wants-more"], false);
    EXPECT_EQ(json["cpu-wait"], 0.5);
    EXPECT_EQ(json["vcpus"], 3);
}

TEST(Load, EmptyLoadsAreWholeObjects)
{
    EXPECT_EQ(to_json(host_load_from_json(Json::object())), to_json(HostLoad()));
    EXPECT_EQ(to_json(vm_load_from_json(Json::object())), to_json(VmLoad()));
    EXPECT_TRUE(to_json(VmLoad())["nics"].is_array());
}

TEST(Load, WhatIsNoLoadIsEmpty)
{
    for (const char* text : {"null", "[]", "7", R"("x")", "[[[]]]"}) {
        EXPECT_EQ(to_json(host_load_from_json(parsed(text))), to_json(HostLoad())) << text;
        EXPECT_EQ(to_json(vm_load_from_json(parsed(text))), to_json(VmLoad())) << text;
    }
}

TEST(Load, NumbersThatAreNoneAreZero)
{
    const HostLoad load = host_load_from_json(parsed(
        R"({"cores":-1,"cpu-busy":"3","memory-total":null,"swap-in":[],"memory-available":true,
            "cpu-by-core":[1,-2,"x",{}],"nics":{"name":"eth0"},"disks":[7,{"name":8,"read":-1}],
            "gaps":[1],"slice":"yes","cpu-pressure":[1]})"));
    EXPECT_EQ(load.cores, 0);
    EXPECT_EQ(load.cpu_busy, 0);
    EXPECT_EQ(load.memory_available, 0);
    EXPECT_EQ(load.cpu_by_core, (std::vector<double>{1, 0, 0, 0}));
    EXPECT_TRUE(load.nics.empty());
    ASSERT_EQ(load.disks.size(), 2U);
    EXPECT_EQ(load.disks[1].read, 0);
    EXPECT_FALSE(load.slice);

    Json infinite = {{"cpu", std::numeric_limits<double>::infinity()},
                     {"resident", std::numeric_limits<double>::quiet_NaN()},
                     {"vcpus", 1e300}};
    const VmLoad vm = vm_load_from_json(infinite);
    EXPECT_EQ(vm.cpu, 0);
    EXPECT_EQ(vm.resident, 0);
    EXPECT_EQ(vm.vcpus, 65536U);
}

TEST(Load, APeerCannotMakeUsKeepMuch)
{
    Json host = {{"cpu-by-core", Json::array()}, {"nics", Json::array()}, {"gaps", Json::array()}};
    for (int i = 0; i < 20000; ++i) {
        host["cpu-by-core"].push_back(1);
        host["nics"].push_back({{"name", std::string(5000, 'x')}});
        host["gaps"].push_back(std::string(5000, 'x'));
    }
    const HostLoad load = host_load_from_json(host);
    EXPECT_EQ(load.cpu_by_core.size(), 8192U);
    EXPECT_EQ(load.nics.size(), 1024U);
    EXPECT_EQ(load.nics[0].name.size(), 256U);
    EXPECT_EQ(load.gaps.size(), 64U);
    EXPECT_EQ(load.gaps[0].size(), 512U);
}

} // namespace drover::balancer
