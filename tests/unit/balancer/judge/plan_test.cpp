// SPDX-License-Identifier: GPL-2.0-or-later
#include "tests/unit/balancer/judge/fleet_maker.h"

#include "contrib/balancer/judge/explain.h"

#include <gtest/gtest.h>

namespace drover::balancer {
namespace {

/// a: 9.5 of 10 cores busy, b: empty.
struct HotAndCold : FleetMaker {
    HostId a = host("a");
    HostId b = host("b");
    VmId large = vm("large", a, 5);
    VmId small = vm("small", a, 4.5);

    HotAndCold() { hotspot(a); }
};

bool has_reason(const Plan& plan, VmId vm, Reason reason)
{
    return std::any_of(plan.rejected.begin(), plan.rejected.end(), [&](const Rejection& r) {
        return r.vm == vm && r.reason == reason && !r.why.empty();
    });
}

TEST(Plan, OneMoveCoolsAHotHost)
{
    HotAndCold fleet;
    const Plan plan = fleet.plan();
    ASSERT_EQ(plan.moves.size(), 1U);
    EXPECT_EQ(plan.moves[0].from, fleet.a);
    EXPECT_EQ(plan.moves[0].to, fleet.b);
    EXPECT_GT(plan.moves[0].gain, plan.moves[0].cost.disturbance);
    EXPECT_EQ(plan.moves[0].resolves, std::vector<uint64_t>{1});
    ASSERT_EQ(plan.verdicts.size(), 1U);
    EXPECT_TRUE(plan.verdicts[0].resolved);
    EXPECT_LT(plan.heat_after, plan.heat_before);
}

/// What is left of the heat can be moved later, if it does not go by itself.
TEST(Plan, WhatIsQuickGoesBeforeWhatIsThorough)
{
    FleetMaker fleet;
    const HostId hot = fleet.host("hot");
    const HostId cold = fleet.host("cold");
    VmSpec rest{.name = "rest", .pinned = true};
    fleet.add(rest, hot, Amount::of(5.3, 2 * test_gib, 0, 0));
    fleet.vm("thorough", hot, 2.5, 48);
    const VmId quick = fleet.vm("quick", hot, 1.4, 4);
    fleet.hotspot(hot);
    const Plan plan = fleet.plan();
    ASSERT_EQ(plan.moves.size(), 1U);
    EXPECT_EQ(plan.moves[0].vm, quick);
    EXPECT_EQ(plan.moves[0].to, cold);
}

TEST(Plan, NothingWithoutAHotspot)
{
    HotAndCold fleet;
    fleet.snapshot.hotspots.clear();
    EXPECT_TRUE(fleet.plan().moves.empty());
}

TEST(Plan, TheSameSnapshotGivesTheSamePlan)
{
    HotAndCold one;
    HotAndCold other;
    EXPECT_EQ(to_json(one.fleet, one.plan()), to_json(other.fleet, other.plan()));
}

struct Rule {
    const char* name;
    Reason reason;
    std::function<void(HotAndCold&)> set;
};

/// Each rule alone is enough to keep both VMs where they are, and is named.
TEST(Plan, RulesAreKeptAndNamed)
{
    const auto both = [](HotAndCold& f, const std::function<void(VmSpec&)>& change) {
        for (const VmId vm : {f.large, f.small}) {
            VmSpec spec = f.fleet.vm(vm);
            change(spec);
            f.fleet.set_vm(vm, spec);
        }
    };
    const auto change_b = [](HotAndCold& f, const std::function<void(HostSpec&)>& change) {
        HostSpec spec = f.fleet.host(f.b);
        change(spec);
        f.fleet.set_host(f.b, spec);
    };
    const std::vector<Rule> rules{
        {"pinned", Reason::Pinned,
         [&](HotAndCold& f) { both(f, [](VmSpec& vm) { vm.pinned = true; }); }},
        {"unreachable", Reason::Unreachable,
         [&](HotAndCold& f) { both(f, [](VmSpec& vm) { vm.reachable = false; }); }},
        {"settling", Reason::Settling,
         [&](HotAndCold& f) { both(f, [](VmSpec& vm) { vm.settling = true; }); }},
        {"stale", Reason::Unreachable,
         [](HotAndCold& f) {
             f.snapshot.vms[f.large].fresh = f.snapshot.vms[f.small].fresh = false;
         }},
        {"stale host", Reason::Unreachable,
         [](HotAndCold& f) { f.snapshot.hosts[f.b].fresh = false; }},
        {"group", Reason::Group,
         [&](HotAndCold& f) {
             both(f, [&](VmSpec& vm) { vm.groups.add(f.fleet.words().id("dmz")); });
         }},
        {"needs", Reason::Needs,
         [&](HotAndCold& f) {
             both(f, [&](VmSpec& vm) { vm.needs.add(f.fleet.words().id("cpu:avx512")); });
         }},
        {"no form for Xen", Reason::Hypervisor,
         [&](HotAndCold& f) { change_b(f, [](HostSpec& b) { b.xen = true; }); }},
        {"no RAM on Xen", Reason::NoRoomMemory,
         [&](HotAndCold& f) {
             both(f, [](VmSpec& vm) { vm.for_xen = true, vm.memory = 4e9; });
             change_b(f, [](HostSpec& b) { b.xen = true, b.xen_free = 4e9; });
         }},
        {"no form for QEMU", Reason::Hypervisor,
         [&](HotAndCold& f) {
             both(f, [](VmSpec& vm) { vm.for_qemu = false, vm.for_xen = true; });
         }},
        {"from Xen to Xen", Reason::Hypervisor,
         [&](HotAndCold& f) {
             both(f, [](VmSpec& vm) { vm.for_xen = true; });
             change_b(f, [](HostSpec& b) { b.xen = true; });
             HostSpec a = f.fleet.host(f.a);
             a.xen = true;
             f.fleet.set_host(f.a, a);
         }},
        {"apart", Reason::Apart,
         [&](HotAndCold& f) {
             const WordId label = f.fleet.words().id("replica");
             both(f, [&](VmSpec& vm) { vm.apart = {label}; });
             VmSpec third;
             third.name = "third";
             third.apart = {label};
             f.add(third, f.b, Amount::of(0.1, 0, 0, 0));
         }},
        {"cpu", Reason::NoRoomCpu, [](HotAndCold& f) { f.vm("busy", f.b, 7.9); }},
        {"memory", Reason::NoRoomMemory, [](HotAndCold& f) { f.vm("fat", f.b, 0, 58); }},
        {"network", Reason::NoRoomBandwidth,
         [](HotAndCold& f) {
             f.add({.name = "chatty", .pinned = true}, f.b, Amount::of(0, 0, 0, 0.79e9));
             f.snapshot.vms[f.large].predicted[Resource::Tx] = 0.1e9;
             f.snapshot.vms[f.small].predicted[Resource::Tx] = 0.1e9;
         }},
        {"in", Reason::TooManyIn,
         [&](HotAndCold& f) { change_b(f, [](HostSpec& b) { b.max_in = 0; }); }},
        {"link", Reason::LinkBusy, [](HotAndCold& f) { f.snapshot.rules.max_per_link = 0; }},
        {"cool-down", Reason::VmCoolDown,
         [](HotAndCold& f) {
             for (const VmId vm : {f.large, f.small})
                 f.snapshot.recent.push_back({vm, f.b, f.a, 9900, false});
         }},
        {"ping-pong", Reason::WouldReturn,
         [](HotAndCold& f) {
             for (const VmId vm : {f.large, f.small})
                 f.snapshot.recent.push_back({vm, f.b, f.a, 9000, false});
         }},
        {"failed", Reason::FailedLately,
         [](HotAndCold& f) {
             for (const VmId vm : {f.large, f.small})
                 f.snapshot.recent.push_back({vm, f.a, f.b, 9900, true});
         }},
        {"impossible", Reason::Impossible,
         [](HotAndCold& f) {
             for (const VmId vm : {f.large, f.small})
                 f.snapshot.forecasts[vm] = {.possible = false, .why = "a device cannot move"};
         }},
        {"costs", Reason::CostsMore,
         [](HotAndCold& f) {
             for (const VmId vm : {f.large, f.small})
                 f.snapshot.forecasts[vm] = {.seconds = 10, .downtime = 500};
         }},
    };
    for (const Rule& rule : rules) {
        HotAndCold fleet;
        rule.set(fleet);
        const Plan plan = fleet.plan();
        EXPECT_TRUE(plan.moves.empty()) << rule.name;
        EXPECT_TRUE(has_reason(plan, fleet.large, rule.reason))
            << rule.name << ": " << in_words(fleet.fleet, plan);
        ASSERT_EQ(plan.verdicts.size(), 1U);
        EXPECT_FALSE(plan.verdicts[0].resolved) << rule.name;
    }
}

TEST(Plan, WhatSaysHowXenRunsItGoesThere)
{
    HotAndCold fleet;
    HostSpec b = fleet.fleet.host(fleet.b);
    b.xen = true;
    b.xen_free = 5e9;
    fleet.fleet.set_host(fleet.b, b);
    for (const VmId vm : {fleet.large, fleet.small}) {
        VmSpec spec = fleet.fleet.vm(vm);
        spec.for_xen = true;
        spec.memory = 4e9;
        fleet.fleet.set_vm(vm, spec);
    }
    EXPECT_FALSE(fleet.plan().moves.empty());
}

TEST(Plan, TogetherMovesTogether)
{
    HotAndCold fleet;
    fleet.host("c");
    const WordId label = fleet.fleet.words().id("pair");
    VmSpec companion;
    companion.name = "companion";
    companion.together = {label};
    const VmId with = fleet.add(companion, fleet.a, Amount::of(0.1, test_gib, 0, 0));
    for (const VmId vm : {fleet.large, fleet.small}) {
        VmSpec spec = fleet.fleet.vm(vm);
        spec.pinned = vm == fleet.small;
        if (vm == fleet.large)
            spec.together = {label};
        fleet.fleet.set_vm(vm, spec);
    }
    const Plan plan = fleet.plan();
    ASSERT_EQ(plan.moves.size(), 2U) << in_words(fleet.fleet, plan);
    EXPECT_EQ(plan.moves[0].to, plan.moves[1].to);
    EXPECT_TRUE(plan.moves[0].vm == with || plan.moves[1].vm == with);
}

TEST(Plan, MoreThanAPlanHasRoomForStayTogether)
{
    FleetMaker fleet;
    const HostId hot = fleet.host("hot", 400);
    fleet.host("cold", 400);
    const WordId label = fleet.fleet.words().id("crowd");
    for (int i = 0; i < 3000; ++i) {
        VmSpec member{.name = "member" + std::to_string(i)};
        member.together = {label};
        fleet.add(member, hot, Amount::of(0.1, 1e6, 0, 0));
    }
    const VmId loner = fleet.vm("loner", hot, 90);
    fleet.hotspot(hot);
    const Plan plan = fleet.plan();
    ASSERT_EQ(plan.moves.size(), 1U);
    EXPECT_EQ(plan.moves[0].vm, loner);
}

/// Neither host can take a VM of the other's on top; one of each can change places.
TEST(Plan, TwoVmsSwap)
{
    FleetMaker fleet;
    const HostId a = fleet.host("a");
    const HostId b = fleet.host("b");
    const VmId large = fleet.vm("large", a, 5, 10);
    fleet.vm("rest", a, 4.5, 10);
    const VmId little = fleet.vm("little", b, 1.5, 10);
    fleet.vm("other", b, 2.5, 10);
    for (const VmId vm : {fleet.fleet.vms_on(a)[1], fleet.fleet.vms_on(b)[1]}) {
        VmSpec spec = fleet.fleet.vm(vm);
        spec.pinned = true;
        fleet.fleet.set_vm(vm, spec);
    }
    fleet.hotspot(a);
    const Plan plan = fleet.plan();
    ASSERT_EQ(plan.moves.size(), 2U) << in_words(fleet.fleet, plan);
    EXPECT_EQ(plan.moves[0].vm, little);
    EXPECT_EQ(plan.moves[1].vm, large);
    EXPECT_EQ(plan.moves[1].after, std::vector<uint32_t>{1});
    EXPECT_TRUE(plan.verdicts[0].resolved);
}

TEST(Plan, WhatIsOnItsWayCounts)
{
    HotAndCold fleet;
    const HostId c = fleet.host("c");
    const VmId coming = fleet.vm("coming", c, 4);
    fleet.snapshot.in_flight.push_back({coming, c, fleet.b, {}});
    const Plan plan = fleet.plan();
    for (const Move& move : plan.moves)
        EXPECT_NE(move.to, fleet.b) << in_words(fleet.fleet, plan);
}

TEST(Plan, WaitsForTheMigrationThatResolvesIt)
{
    HotAndCold fleet;
    fleet.snapshot.in_flight.push_back({fleet.large, fleet.a, fleet.b, {1}});
    const Plan plan = fleet.plan();
    EXPECT_TRUE(plan.moves.empty());
    EXPECT_TRUE(plan.verdicts[0].resolved);
    EXPECT_NE(plan.verdicts[0].why.find("in flight"), std::string::npos);
}

TEST(Plan, AnEvacuatedHostIsEmptiedInSpiteOfCoolDowns)
{
    HotAndCold fleet;
    fleet.snapshot.hotspots.clear();
    HostSpec spec = fleet.fleet.host(fleet.a);
    spec.receives = false;
    spec.evacuating = true;
    fleet.fleet.set_host(fleet.a, spec);
    fleet.snapshot.recent.push_back({fleet.small, fleet.b, fleet.a, 9990, false});
    const HostId c = fleet.host("c");
    const Plan plan = fleet.plan();
    ASSERT_EQ(plan.moves.size(), 2U);
    for (const Move& move : plan.moves)
        EXPECT_TRUE(move.to == fleet.b || move.to == c);
}

TEST(Plan, AskedMovesExplainRefusals)
{
    HotAndCold fleet;
    VmSpec spec = fleet.fleet.vm(fleet.large);
    spec.pinned = true;
    fleet.fleet.set_vm(fleet.large, spec);
    EXPECT_TRUE(check_move(fleet.look(), fleet.large, fleet.b).move);
    const Advice same = check_move(fleet.look(), fleet.large, fleet.a);
    EXPECT_EQ(same.reason, Reason::SameHost);
    EXPECT_NE(same.why.find("runs on a already"), std::string::npos);
    const Advice best = best_target(fleet.look(), fleet.large);
    ASSERT_TRUE(best.move);
    EXPECT_EQ(best.move->to, fleet.b);
    EXPECT_EQ(check_move(fleet.look(), 99, fleet.b).reason, Reason::Unknown);
}

/// Which is no host that takes no VMs.
TEST(Plan, ThatAllOtherHostsAreHotIsSaid)
{
    HotAndCold fleet;
    fleet.vm("busy", fleet.b, 9.6);
    fleet.hotspot(fleet.b);
    const Plan plan = fleet.plan();
    EXPECT_TRUE(plan.moves.empty());
    EXPECT_TRUE(has_reason(plan, fleet.large, Reason::HostHot));
    ASSERT_FALSE(plan.verdicts.empty());
    EXPECT_NE(plan.verdicts[0].why.find("b is hot itself"), std::string::npos)
        << plan.verdicts[0].why;
    const Advice advice = best_target(fleet.look(), fleet.large);
    EXPECT_EQ(advice.reason, Reason::HostHot);
    EXPECT_EQ(advice.why, "no host takes it: b is hot itself");
}

TEST(Plan, WhyNoHostIsLookedAtIsSaidOfEach)
{
    HotAndCold fleet;
    HostSpec closed = test_host("closed");
    closed.receives = false;
    fleet.fleet.remove_host(fleet.b);
    EXPECT_EQ(best_target(fleet.look(), fleet.large).why,
              "no host takes it: there is no other host");
    fleet.add(closed);
    const Advice advice = best_target(fleet.look(), fleet.large);
    EXPECT_EQ(advice.reason, Reason::NotReceiving);
    EXPECT_NE(advice.why.find("closed takes no VMs"), std::string::npos) << advice.why;
    const HostId lost = fleet.host("lost");
    fleet.snapshot.hosts[lost].fresh = false;
    fleet.hotspot(fleet.host("warm"));
    const Advice all = best_target(fleet.look(), fleet.large);
    EXPECT_EQ(all.reason, Reason::HostHot);
    for (const char* words : {"closed takes no VMs", "of lost lately", "warm is hot itself"})
        EXPECT_NE(all.why.find(words), std::string::npos) << all.why;
}

TEST(Plan, SaysWhyInWordsAndJson)
{
    HotAndCold fleet;
    const Plan plan = fleet.plan();
    EXPECT_NE(plan.moves[0].why.find("a from 95 % to"), std::string::npos) << plan.moves[0].why;
    const Json json = to_json(fleet.fleet, plan);
    for (const char* member :
         {"id", "vm", "from", "to", "policy", "gain", "cost", "resolves", "why"})
        EXPECT_TRUE(json["moves"][0].contains(member)) << member;
    for (const char* member : {"seconds", "bytes", "downtime"})
        EXPECT_TRUE(json["moves"][0]["cost"].contains(member)) << member;
    EXPECT_EQ(json["moves"][0]["from"], "a");
    ASSERT_FALSE(json["rejected"].empty());
    for (const char* member : {"vm", "reason", "why"})
        EXPECT_TRUE(json["rejected"][0].contains(member)) << member;
    const Json spot = to_json(fleet.fleet, fleet.snapshot.hotspots[0]);
    for (const char* member : {"id", "kind", "host", "since", "sure", "cause", "predicted"})
        EXPECT_TRUE(spot.contains(member)) << member;
    EXPECT_EQ(spot["kind"], "host-cpu");
}

TEST(Plan, AHostWithoutHugePagesIsRefusedInWords)
{
    FleetMaker maker;
    const HostId from = maker.host("a");
    HostSpec spec = test_host("b");
    spec.huge_free = 1 * test_gib;
    const HostId to = maker.add(spec);
    VmSpec vm{.name = "huge"};
    vm.huge = 2 * test_gib;
    const VmId id = maker.add(vm, from, Amount::of(1, 16e6, 0, 0));
    maker.snapshot.fleet = &maker.fleet;
    const Advice refused = check_move(maker.snapshot, id, to);
    EXPECT_FALSE(refused.move);
    EXPECT_NE(refused.why.find("b has 1.0 GiB of huge pages free, and huge needs 2.0 GiB"),
              std::string::npos)
        << refused.why;
    spec.huge_free = 2 * test_gib;
    maker.fleet.set_host(to, spec);
    EXPECT_TRUE(check_move(maker.snapshot, id, to).move);
}

} // namespace
} // namespace drover::balancer
