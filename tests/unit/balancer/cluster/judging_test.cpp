// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/cluster/judging.h"

#include "contrib/balancer/cluster/balancer.h"
#include "tests/unit/balancer/cluster/fake_fleet.h"
#include "tests/unit/balancer/cluster/temporary_directory.h"

#include <gtest/gtest.h>

namespace drover::balancer::cluster::testing {
namespace {

TEST(Judging, reads_the_way_that_a_forecast_recommends)
{
    const auto way = [](const char* name, bool possible, bool keeps, double seconds) {
        return Json{{"way", name},
                    {"possible", possible},
                    {"keeps-wish", keeps},
                    {"total", {{"expected", seconds}}},
                    {"bytes", {{"expected", 1e9}}},
                    {"downtime", {{"expected", 0.05}}},
                    {"slowdown", 30}};
    };
    const Json answer = {{"ways",
                          {way("precopy", true, false, 90), way("slowed", true, true, 40),
                           way("postcopy", true, true, 20)}}};
    const auto best = forecast_of(answer);
    ASSERT_TRUE(best);
    EXPECT_EQ(best->seconds, 40);
    EXPECT_EQ(best->slowdown, 0.3);
    EXPECT_TRUE(best->keeps_wish);
    EXPECT_FALSE(forecast_of(Json()));
    EXPECT_FALSE(forecast_of({{"ways", "many"}}));
    EXPECT_FALSE(forecast_of({{"ways", {1, "two"}}}));
}

TEST(Judging, takes_a_hosts_specification_from_the_file_and_from_what_it_tells)
{
    FleetHost host;
    host.up = true;
    host.config.name = "a";
    host.config.group = "rack-1";
    host.config.offers = {"ssd"};
    host.config.thresholds.cpu = 0.7;
    host.facts = {{"cores", 8}, {"memory", 16e9}, {"offers", {"kvm", 7}}};
    host.load.nics = {{.name = "eth0", .capacity = 125e6}};
    Words words;
    HostSpec spec = host_spec(host, &host.load.nics[0], words);
    EXPECT_EQ(spec.capacity, Amount::of(8, 16e9, 125e6, 125e6));
    EXPECT_EQ(spec.threshold[Resource::Cpu], 0.7);
    EXPECT_TRUE(spec.offers.has(words.id("ssd")));
    EXPECT_TRUE(spec.offers.has(words.id("kvm")));
    EXPECT_TRUE(spec.receives);
    EXPECT_LT(spec.threshold[Resource::Memory], 1);
    host.config.maintenance = true;
    EXPECT_FALSE(host_spec(host, nullptr, words).receives);
    host.facts["offers"] = {"xen"};
    spec = host_spec(host, nullptr, words);
    EXPECT_TRUE(spec.xen);
    EXPECT_EQ(spec.threshold[Resource::Memory], 1) << "a full Xen host is not about to swap";
    EXPECT_EQ(spec.reserve[Resource::Memory], 0);
}

/// The whole engine with the real judge, over hosts "a" and "b".
class Engine {
public:
    explicit Engine(Mode mode) : fleet(time, 3, false), judging_(time, 1)
    {
        for (const char* host : {"a", "b"})
            fleet.add_host(host);
        auto opened = Journal::open(directory_.path() + "/journal", time);
        EXPECT_TRUE(opened);
        journal = std::move(*opened);
        Config config;
        config.mode = mode;
        config.hosts = {{.name = "a", .address = "unix:/a"}, {.name = "b", .address = "unix:/b"}};
        balancer.emplace(config, Balancer::Parts{.journal = *journal,
                                                 .judgement = judging_,
                                                 .time = time,
                                                 .make_link =
                                                     [this](const HostConfig& host, const auto&) {
                                                         return fleet.make_door(host.name);
                                                     },
                                                 .config_file = "",
                                                 .run = 1,
                                                 .event = [](const std::string&, const Json&) {}});
    }

    /// Lets it live; `each` is called all the time.
    void live(
        double seconds, const std::function<void()>& each = [] {})
    {
        for (const double end = time.now() + seconds; time.now() < end;) {
            balancer->tick();
            time.run(0.1, [] {});
            each();
        }
    }

    VirtualTime time;
    FakeFleet fleet;
    std::unique_ptr<Journal> journal;
    std::optional<Balancer> balancer;

private:
    TemporaryDirectory directory_;
    Judging judging_;
};

TEST(Judging, moves_a_guest_away_from_a_hot_host)
{
    Engine engine(Mode::Automatic);
    for (const char* vm : {"v1", "v2", "v3"})
        engine.fleet.add_vm(vm, "a");
    engine.fleet.set_vm_cpu(0.5);
    engine.live(20);
    EXPECT_TRUE(engine.balancer->query_hotspots().empty());
    EXPECT_TRUE(engine.balancer->query_migrations().empty());
    engine.fleet.set_vm_cpu(1.3); // 3.9 of 4 cores
    engine.live(20);
    EXPECT_TRUE(engine.balancer->query_hotspots().empty()) << "it may be a burst yet";
    engine.live(13);
    EXPECT_FALSE(engine.balancer->query_hotspots().empty());
    EXPECT_EQ(json_string(engine.balancer->query_hotspots()[0], "host"), "a");
    engine.live(20);
    int on_b = 0;
    for (const char* vm : {"v1", "v2", "v3"})
        on_b += engine.fleet.host_of(vm) == "b";
    EXPECT_EQ(on_b, 1) << engine.balancer->query_plan().dump(1);
    engine.live(60);
    EXPECT_TRUE(engine.balancer->query_hotspots().empty());
    EXPECT_EQ(engine.journal->latest_moves(10, "")->size(), 1U); // and no move more than it takes
    EXPECT_EQ(engine.fleet.complaint_when_settled(), "");
}

/// A migration fills the links of both hosts, and tells nothing of what remains: nobody moves
/// because of it.
TEST(Judging, takes_its_own_migration_for_no_load)
{
    Engine engine(Mode::Automatic);
    for (const char* vm : {"v1", "v2"})
        engine.fleet.add_vm(vm, "a");
    engine.fleet.set_link(10e6, 60);
    engine.live(10);
    ASSERT_TRUE(engine.balancer->migrate("v1", "b", "ann"));
    bool found = false;
    engine.live(55, [&] { found = found || !engine.balancer->query_hotspots().empty(); });
    EXPECT_FALSE(found) << engine.balancer->query_hotspots().dump(1);
    engine.live(20);
    EXPECT_EQ(engine.journal->latest_moves(10, "")->size(), 1U);
}

} // namespace
} // namespace drover::balancer::cluster::testing
