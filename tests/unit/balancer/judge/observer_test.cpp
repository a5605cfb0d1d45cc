// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/judge/observer.h"

#include "contrib/balancer/simulate/random.h"
#include "tests/unit/balancer/judge/fleet_maker.h"

#include <cmath>
#include <gtest/gtest.h>

namespace drover::balancer {
namespace {

/// One host of ten cores (hot above 8.5) with one VM, seen once each ten seconds.
struct Watched {
    Fleet fleet;
    HostId host = fleet.add_host(test_host("a"));
    VmId vm = fleet.add_vm({.name = "vm", .expected_tx = 100e6}, host);
    Observer observer{fleet};
    double time = 1e9;

    double period = 10;

    void see(double cores, double swap_out = 0, double gib = 63)
    {
        see({.used = Amount::of(cores, (swap_out > 0 ? gib : 1) * test_gib, 0, 0),
             .swap_out = swap_out});
    }
    void see(HostSample sample)
    {
        sample.time = time += period;
        observer.see_host(host, sample);
        observer.judge(time);
    }
    void see_often(double cores, int samples)
    {
        for (int i = 0; i < samples; ++i)
            see(cores);
    }
    [[nodiscard]] size_t spots() const { return observer.hotspots().size(); }
};

TEST(Observer, ASpikeIsNoHotspot)
{
    Watched watched;
    watched.see_often(5, 20);
    for (int i = 0; i < 20; ++i) {
        watched.see(9.9);
        EXPECT_EQ(watched.spots(), 0U);
        watched.see_often(5, 4);
        EXPECT_EQ(watched.spots(), 0U);
    }
    EXPECT_NEAR(watched.observer.snapshot(watched.time).hosts[0].predicted[Resource::Cpu], 5, 0.7);
}

TEST(Observer, WhatLastsIsOneAndEnds)
{
    Watched watched;
    watched.see_often(5, 20);
    watched.see_often(9, 3);
    ASSERT_EQ(watched.spots(), 1U);
    const Hotspot spot = watched.observer.hotspots()[0];
    EXPECT_EQ(spot.kind, HotspotKind::HostCpu);
    EXPECT_EQ(spot.since, watched.time - 20);
    EXPECT_FALSE(spot.forecast);
    EXPECT_NE(spot.cause.find("9.0 cores of 10 cores"), std::string::npos) << spot.cause;
    watched.see(9);
    ASSERT_EQ(watched.spots(), 1U);
    EXPECT_EQ(watched.observer.hotspots()[0].id, spot.id);
    watched.see_often(5, 3);
    EXPECT_EQ(watched.spots(), 0U);
}

/// As the product samples: what is over in seconds is nobody's affair, whatever its height.
TEST(Observer, PersistenceIsInSecondsAndNotInSamples)
{
    Watched watched;
    watched.period = 1;
    watched.see_often(5, 100);
    for (int burst = 0; burst < 5; ++burst) {
        for (int i = 0; i < 4; ++i) {
            watched.see(10);
            ASSERT_EQ(watched.spots(), 0U);
        }
        const Snapshot snapshot = watched.observer.snapshot(watched.time);
        EXPECT_LT(snapshot.hosts[0].predicted[Resource::Cpu], 6) << "the level jumped on a burst";
        watched.see_often(5, 30);
        ASSERT_EQ(watched.spots(), 0U);
    }
    watched.see_often(9.5, 29);
    ASSERT_EQ(watched.spots(), 0U);
    watched.see(9.5);
    ASSERT_EQ(watched.spots(), 1U);
    EXPECT_GT(watched.observer.snapshot(watched.time).hosts[0].predicted[Resource::Cpu], 9);
    watched.see_often(5, 29);
    EXPECT_EQ(watched.spots(), 1U);
    watched.see(5);
    EXPECT_EQ(watched.spots(), 0U);
}

/// A load that is bad for half of the time is none that a move would mend; for three quarters it
/// is.
TEST(Observer, WhatFlickersIsJudgedByItsPart)
{
    for (const int bad : {2, 3}) {
        Watched watched;
        watched.period = 1;
        watched.see_often(5, 100);
        size_t found = 0;
        for (int i = 0; i < 120; ++i) {
            watched.see(i % 4 < bad ? 10 : 7);
            found += watched.spots();
        }
        EXPECT_EQ(found > 0, bad == 3) << bad << " of 4";
    }
}

/// The network that is judged may be another one: a tenth of it stays a tenth.
TEST(Observer, AnotherNetworkIsNoJump)
{
    Watched watched;
    HostSpec spec = watched.fleet.host(watched.host);
    const auto see = [&](double share) {
        watched.time += 1;
        const double tx = share * spec.capacity[Resource::Tx];
        watched.observer.see_host(watched.host,
                                  {.time = watched.time, .used = Amount::of(1, 1e9, 0, tx)});
        watched.observer.judge(watched.time);
    };
    for (const double capacity : {3e9, 1e6, 3e9}) {
        spec.capacity[Resource::Tx] = capacity;
        watched.fleet.set_host(watched.host, spec);
        for (int i = 0; i < 60; ++i) {
            see(0.2);
            ASSERT_EQ(watched.spots(), 0U);
            const double predicted =
                watched.observer.snapshot(watched.time).hosts[0].predicted[Resource::Tx];
            ASSERT_NEAR(predicted / capacity, 0.2, 0.01) << capacity << ' ' << i;
        }
    }
}

/// As after a host's boot: its own level follows slowly, as if what came were what fluctuates.
TEST(Observer, AHostNeedsWhatItsGuestsDo)
{
    Watched watched;
    const auto see = [&](double host, double guest) {
        watched.observer.see_vm(watched.vm,
                                {.time = watched.time + 10, .used = Amount::of(guest, 1e9, 0, 0)});
        watched.see(host);
    };
    for (int i = 0; i < 12; ++i)
        see(i % 2 == 0 ? 0.5 : 9.5, 0.5);
    for (int i = 0; i < 3; ++i)
        see(9.5, 9.2);
    const Snapshot snapshot = watched.observer.snapshot(watched.time);
    EXPECT_NEAR(snapshot.vms[0].predicted[Resource::Cpu], 9.2, 0.1);
    EXPECT_GE(snapshot.hosts[0].predicted[Resource::Cpu], 9.1);
}

TEST(Observer, AClimbIsForeseen)
{
    Watched watched;
    watched.see_often(5, 12);
    double cores = 5;
    while (watched.spots() == 0 && cores < 8.5)
        watched.see(cores += 0.15 + (watched.spots() % 2 ? 0.02 : -0.02));
    ASSERT_EQ(watched.spots(), 1U);
    EXPECT_LT(cores, 8.4);
    EXPECT_TRUE(watched.observer.hotspots()[0].forecast);
    EXPECT_GT(watched.observer.hotspots()[0].predicted, 8.5);
    EXPECT_GT(watched.observer.hotspots()[0].sure, 0.9);
}

TEST(Observer, NoiseIsNoClimb)
{
    Watched watched;
    Random random(1);
    for (int i = 0; i < 500; ++i) {
        watched.see(7 + random.normal() * 0.4);
        ASSERT_EQ(watched.spots(), 0U) << i;
    }
}

TEST(Observer, WaitingGuestsWantMoreThanThereIs)
{
    Watched watched;
    for (int i = 0; i < 5; ++i) {
        watched.observer.see_vm(
            watched.vm,
            {.time = watched.time + 10, .used = Amount::of(6, 1e9, 0, 0), .cpu_wait = 5});
        watched.see(8);
    }
    ASSERT_EQ(watched.spots(), 1U);
    EXPECT_DOUBLE_EQ(watched.observer.hotspots()[0].value, 13);
}

TEST(Observer, SwappingOutIsOne)
{
    Watched watched;
    for (int i = 0; i < 3; ++i)
        watched.see(1, 5e6);
    ASSERT_EQ(watched.spots(), 1U);
    EXPECT_TRUE(watched.observer.hotspots()[0].swapping);
    EXPECT_EQ(watched.observer.hotspots()[0].kind, HotspotKind::HostSwap);
}

TEST(Observer, SwappingIsFoundInSeconds)
{
    Watched watched;
    watched.period = 1;
    watched.see_often(1, 10);
    for (int i = 0; i < 5; ++i) {
        ASSERT_EQ(watched.spots(), 0U);
        watched.see(1, 5e6);
    }
    EXPECT_EQ(watched.spots(), 1U);
}

/// 64 GiB of memory, of which 60.8 are the threshold.
HostSample memory(double used_gib, double swap_out = 0, double swapped_gib = 0)
{
    return {.used = Amount::of(1, used_gib * test_gib, 0, 0),
            .swap_out = swap_out,
            .swapped = swapped_gib * test_gib};
}

TEST(Observer, PuttingOutWhatNobodyNeedsIsNone)
{
    Watched watched;
    watched.period = 1;
    for (int i = 0; i < 60; ++i) {
        watched.see(memory(10, 20e6, 4));
        ASSERT_EQ(watched.spots(), 0U) << "zram, with memory enough";
    }
    HostSample waiting = memory(10, 20e6, 4);
    waiting.memory_pressure = 0.3;
    HostSample reading_back = memory(10, 20e6, 4);
    reading_back.swap_in = 15e6;
    for (const HostSample& hurts : {waiting, reading_back, memory(58, 20e6, 4)}) {
        Watched other;
        other.period = 1;
        for (int i = 0; i < 7; ++i)
            other.see(hurts);
        EXPECT_EQ(other.spots(), 1U);
    }
}

/// A host swaps by fits and starts.
TEST(Observer, SwappingIsNotOverWhileMemoryIsShort)
{
    Watched watched;
    watched.period = 1;
    watched.see(memory(58));
    for (int i = 0; i < 9; ++i)
        watched.see(memory(58, i % 3 == 2 ? 0 : 8e6, 4));
    ASSERT_EQ(watched.spots(), 1U);
    const uint64_t id = watched.observer.hotspots()[0].id;
    for (int i = 0; i < 60; ++i) {
        watched.see(memory(58, 0, 4));
        ASSERT_EQ(watched.spots(), 1U) << i;
    }
    EXPECT_EQ(watched.observer.hotspots()[0].id, id);
    for (int i = 0; i < 30; ++i)
        watched.see(memory(40, 0, 1)); // a guest has left
    EXPECT_EQ(watched.spots(), 0U);
}

TEST(Observer, AHostWithoutMemoryLeftIsHotWithoutSwap)
{
    Watched watched;
    watched.period = 1;
    for (int i = 0; i < 30; ++i) {
        watched.see(memory(62));
        ASSERT_EQ(watched.spots(), 0U) << i;
    }
    watched.see(memory(62));
    watched.see(memory(62));
    ASSERT_EQ(watched.spots(), 1U);
    const Hotspot spot = watched.observer.hotspots()[0];
    EXPECT_EQ(spot.kind, HotspotKind::HostSwap);
    EXPECT_FALSE(spot.swapping);
    EXPECT_NE(spot.cause.find("62 GiB of 64 GiB"), std::string::npos) << spot.cause;
    for (int i = 0; i < 31; ++i)
        watched.see(memory(50));
    EXPECT_EQ(watched.spots(), 0U);
}

TEST(Observer, AXenHostThatIsFullIsNone)
{
    Watched watched;
    HostSpec spec = test_host("a");
    spec.xen = true;
    watched.fleet.set_host(watched.host, spec);
    for (int i = 0; i < 60; ++i)
        watched.see(memory(40 + i * 0.4));
    EXPECT_EQ(watched.spots(), 0U) << "Xen swaps nothing: Dom0 and guests may have all there is";
}

TEST(Observer, AGuestWithoutItsBandwidthIsOne)
{
    Watched watched;
    for (int i = 0; i < 4; ++i) { // of the first nobody knows how long it was so
        watched.observer.see_vm(
            watched.vm,
            {.time = watched.time + 10, .used = Amount::of(1, 1e9, 0, 50e6), .wants_more = true});
        watched.see(1);
    }
    ASSERT_EQ(watched.spots(), 1U);
    EXPECT_EQ(watched.observer.hotspots()[0].kind, HotspotKind::VmBandwidth);
    EXPECT_EQ(watched.observer.hotspots()[0].vm, watched.vm);
    EXPECT_DOUBLE_EQ(watched.observer.hotspots()[0].value, 50e6);
}

TEST(Observer, NobodyIsJudgedByWhatIsOldOrUnsound)
{
    Watched watched;
    watched.see_often(9, 5);
    ASSERT_EQ(watched.spots(), 1U);
    watched.observer.judge(watched.time + 31);
    EXPECT_EQ(watched.spots(), 0U);
    EXPECT_FALSE(watched.observer.snapshot(watched.time + 31).hosts[0].fresh);

    Watched unsound;
    unsound.see_often(5, 5);
    for (const double bad : {std::nan(""), -1.0, double(INFINITY)}) {
        for (int i = 0; i < 5; ++i)
            unsound.see(bad);
        EXPECT_EQ(unsound.spots(), 0U);
    }
}

TEST(Observer, AClockThatJumpedIsForgotten)
{
    Watched watched;
    watched.see_often(5, 5);
    watched.observer.see_host(watched.host,
                              {.time = watched.time + 1e6, .used = Amount::of(9.9, 0, 0, 0)});
    watched.observer.judge(watched.time + 10);
    EXPECT_EQ(watched.spots(), 0U);
    EXPECT_FALSE(watched.observer.snapshot(watched.time + 10).hosts[0].fresh);
    watched.time += 20;
    watched.see(5);
    EXPECT_TRUE(watched.observer.snapshot(watched.time).hosts[0].fresh);
}

TEST(Observer, OurOwnMigrationsMakeNoHotspot)
{
    Watched watched;
    for (int i = 0; i < 6; ++i) {
        watched.time += 10;
        watched.observer.see_host(watched.host, {.time = watched.time,
                                                 .used = Amount::of(1, 1e9, 0, 0.95e9),
                                                 .migrating = Amount::of(0, 0, 0, 0.9e9)});
        watched.observer.judge(watched.time);
    }
    EXPECT_EQ(watched.spots(), 0U);
}

} // namespace
} // namespace drover::balancer
