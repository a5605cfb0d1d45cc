// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/cluster/uplinks.h"

#include "contrib/balancer/cluster/judging.h"

#include <gtest/gtest.h>

namespace drover::balancer::cluster::testing {
namespace {

/// Storage that is idle, guests' that is full, and one of which nothing is known.
HostLoad some_load()
{
    HostLoad load;
    load.nics = {{.name = "storage", .capacity = 3125e6, .rx = 1e6, .tx = 1e6},
                 {.name = "guests", .capacity = 125e6, .rx = 1e6, .tx = 120e6},
                 {.name = "virtio", .capacity = 0, .rx = 9e9, .tx = 9e9}};
    return load;
}

std::string fullest(const HostLoad& load, const std::string& before = "")
{
    const NicLoad* nic = fullest_uplink(load, before);
    return nic != nullptr ? nic->name : "none";
}

TEST(Uplinks, TheFullestIsJudgedAndNotTheSum)
{
    HostLoad load = some_load();
    EXPECT_EQ(fullest(load), "guests");
    EXPECT_EQ(fullest(load, "virtio"), "guests");
    EXPECT_EQ(fullest(load, "gone"), "guests");
    FleetHost host;
    host.load = load;
    Words words;
    const HostSpec spec = host_spec(host, fullest_uplink(load, ""), words);
    EXPECT_EQ(spec.capacity[Resource::Tx], 125e6);
    load.nics.resize(0);
    EXPECT_EQ(fullest(load), "none");
}

TEST(Uplinks, ItDoesNotChangeWithEachSample)
{
    HostLoad load = some_load();
    load.nics[0].tx = 0.30 * load.nics[0].capacity;
    load.nics[1].tx = 0.35 * load.nics[1].capacity;
    EXPECT_EQ(fullest(load, "storage"), "storage");
    EXPECT_EQ(fullest(load, "guests"), "guests");
    load.nics[1].tx = 0.45 * load.nics[1].capacity;
    EXPECT_EQ(fullest(load, "storage"), "guests");
}

TEST(Uplinks, MigrationsHaveTheirOwn)
{
    HostLoad load = some_load();
    EXPECT_EQ(migration_link(load), 125e6) << "the slowest, as nobody knows";
    EXPECT_TRUE(carries_migrations(load, load.nics[1])) << "perhaps";
    load.migration_nic = "storage";
    load.migration_capacity = 3125e6;
    EXPECT_EQ(migration_link(load), 3125e6);
    EXPECT_FALSE(carries_migrations(load, load.nics[1]));
    EXPECT_TRUE(carries_migrations(load, load.nics[0]));
    EXPECT_EQ(migration_link(HostLoad()), 0);
    load.migration_nic = "virtio";
    load.migration_capacity = 0;
    EXPECT_EQ(migration_link(load), 0) << "it tells no speed, and no other's is its";
}

TEST(Uplinks, AGuestCountsWhereItLeaves)
{
    const HostLoad load = some_load();
    EXPECT_TRUE(counts_on({.id = "net0", .uplink = "guests"}, load, "guests"));
    EXPECT_FALSE(counts_on({.id = "net0", .uplink = "storage"}, load, "guests"));
    EXPECT_TRUE(counts_on({.id = "net0", .uplink = ""}, load, "guests")) << "nobody knows";
    EXPECT_TRUE(counts_on({.id = "net0", .uplink = "eth7"}, load, "slice")) << "is none of them";
    EXPECT_TRUE(counts_on({.id = "net0", .uplink = "storage", .wants_more = true}, load, "guests"));
}

} // namespace
} // namespace drover::balancer::cluster::testing
