// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/judge/exact.h"
#include "contrib/balancer/simulate/engine.h"
#include "contrib/balancer/simulate/random.h"
#include "tests/unit/balancer/judge/fleet_maker.h"

#include <fstream>
#include <gtest/gtest.h>

namespace drover::balancer {
namespace {

Metrics run(std::string_view name, size_t rounds, const GeneratorOptions& options)
{
    Scenario scenario = generate_scenario(options);
    const auto planner = make_planner(name, scenario.fleet);
    EngineOptions engine;
    engine.rounds = rounds;
    engine.start += 12 * 3600.0; // the day's height
    return simulate(scenario, *planner, engine);
}

TEST(Simulate, TheSameSeedGivesTheSameDay)
{
    const GeneratorOptions options{20, 200, 5};
    const Metrics one = run("drover", 500, options);
    const Metrics other = run("drover", 500, options);
    EXPECT_EQ(one.hotspot_minutes, other.hotspot_minutes);
    EXPECT_EQ(one.migrations, other.migrations);
}

TEST(Simulate, BalancingHelpsAndNothingReturns)
{
    const GeneratorOptions options{40, 400, 7};
    const Metrics none = run("none", 1000, options);
    const Metrics drover = run("drover", 1000, options);
    EXPECT_GT(none.hotspot_minutes, 60);
    EXPECT_LT(drover.hotspot_minutes, none.hotspot_minutes / 4);
    EXPECT_GT(drover.migrations, 0U);
    EXPECT_EQ(drover.ping_pong, 0U);
    EXPECT_EQ(drover.refused, 0U);
}

TEST(Simulate, EveryPlannerKeepsTheLimits)
{
    for (const std::string_view name : planner_names()) {
        const Metrics metrics = run(name, 300, {20, 200, 3});
        EXPECT_EQ(metrics.refused, 0U) << name;
    }
}

/// So full that room must often be made; who is above 85 % has a hotspot.
FleetMaker random_fleet(Random& random, HostId hosts, int vms, double most_cores)
{
    FleetMaker fleet;
    for (HostId host = 0; host < hosts; ++host)
        fleet.host("h" + std::to_string(host));
    for (int vm = 0; vm < vms; ++vm)
        fleet.vm("v" + std::to_string(vm), static_cast<HostId>(random.below(hosts)),
                 random.between(0.3, most_cores), random.between(1, 14));
    for (HostId host = 0; host < hosts; ++host)
        if (fleet.snapshot.hosts[host].predicted[Resource::Cpu] > 8.5)
            fleet.hotspot(host);
    return fleet;
}

/// All plans there are, without any cleverness.
double best_of_all(const Scene& scene, VmId next, std::vector<Step>& steps)
{
    if (next == scene.fleet().vm_ids())
        return 0;
    double best = best_of_all(scene, next + 1, steps);
    for (HostId to = 0; to < scene.host_count(); ++to) {
        if (to == scene.fleet().host_of(next))
            continue;
        steps.push_back({next, scene.fleet().host_of(next), to});
        if (const Outcome outcome = scene.evaluate(steps); outcome.possible())
            best = std::min(best, outcome.score());
        best = std::min(best, best_of_all(scene, next + 1, steps));
        steps.pop_back();
    }
    return best;
}

TEST(Simulate, TheExactSearchMissesNothing)
{
    Random random(5);
    size_t moved = 0;
    for (int turn = 0; turn < 40; ++turn) {
        FleetMaker fleet = random_fleet(random, 3, 7, 5.5);
        const Scene scene(fleet.look());
        std::vector<Step> steps;
        const double best = best_of_all(scene, 0, steps);
        const ExactResult exact = solve_exactly(scene, {});
        EXPECT_TRUE(exact.complete);
        EXPECT_NEAR(exact.score, best, 1e-6) << "turn " << turn;
        moved += exact.steps.empty() ? 0 : 1;
    }
    EXPECT_GE(moved, 10U);
}

/// The planner's choice, found within its budget, beside the best there is.
TEST(Simulate, PlansAreNearlyAlwaysTheBestThereAre)
{
    Random random(11);
    size_t compared = 0;
    size_t optimal = 0;
    for (int turn = 0; turn < 30; ++turn) {
        FleetMaker fleet = random_fleet(random, 5, 20, 3.5);
        const Snapshot& snapshot = fleet.look();
        const Outcome ours = judge_moves(snapshot, make_plan(snapshot).moves);
        ASSERT_TRUE(ours.possible());
        const ExactResult best =
            solve_exactly(Scene(snapshot), {.known = ours.score(), .nodes = 3'000'000});
        if (!best.complete || snapshot.hotspots.empty())
            continue;
        ++compared;
        EXPECT_LE(ours.score(), 0.95 * best.score) << "turn " << turn; // both are below 0
        optimal += best.score >= ours.score() - 1e-3 ? 1 : 0;
    }
    EXPECT_GE(compared, 25U);
    EXPECT_GE(double(optimal), 0.95 * double(compared)) << optimal << " of " << compared;
}

TEST(Simulate, ADescribedFleetIsRead)
{
    const std::string path = testing::TempDir() + "fleet.toml";
    std::ofstream(path) << "[[host]]\nname = 'a'\ncores = 8\n[[host]]\nname = 'b'\ncores = 8\n"
                           "[[vm]]\nname = 'x'\nhost = 'a'\nvcpus = 4\ncpu = 4\n"
                           "[[vm]]\nname = 'y'\nhost = 'a'\nvcpus = 4\n"
                           "cpu = [[0, 1.0], [600, 1.0], [900, 4.0]]\n";
    auto scenario = read_scenario(path);
    ASSERT_TRUE(scenario) << scenario.error().text();
    const auto planner = make_planner("drover", scenario->fleet);
    EngineOptions engine;
    engine.rounds = 200;
    const Metrics metrics = simulate(*scenario, *planner, engine);
    EXPECT_EQ(metrics.migrations, 1U);
    EXPECT_NE(scenario->fleet.host_of(0), scenario->fleet.host_of(1));
}

TEST(Simulate, AWrongFileIsNamedWithItsLine)
{
    const std::string path = testing::TempDir() + "wrong.toml";
    std::ofstream(path) << "[[host]]\nname = 'a'\n\n[[vm]]\nname = 'x'\nhost = 'nowhere'\n";
    const auto scenario = read_scenario(path);
    ASSERT_FALSE(scenario);
    EXPECT_NE(scenario.error().message.find("line 4"), std::string::npos)
        << scenario.error().message;
}

} // namespace
} // namespace drover::balancer
