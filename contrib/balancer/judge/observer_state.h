// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/judge/observer.h"
#include "contrib/balancer/judge/season.h"
#include "contrib/balancer/judge/series.h"

namespace drover::balancer {

/// Whether one thing has been bad for long. Bad time adds up; good time takes away half as much
/// again, so that what is bad for less than three fifths of the time never gets there.
struct Watch {
    uint64_t hotspot = 0;    ///< ID of the one that it makes, 0: none
    double since = 0;        ///< first of the bad samples
    double climbs_since = 0; ///< 0: it does not
    float bad_s = 0;         ///< at most the persistence
    float calm_s = 0;        ///< good without a break
    uint8_t samples = 0;     ///< bad ones since bad_s was 0; saturates
    bool measured = false;   ///< bad by what was measured; else by forecast only
    float sure = 0;
};

/// What one more sample says of such a thing.
struct Look {
    double time = 0;
    double past = 0;     ///< s since the sample before
    bool bad = false;    ///< by measure
    bool climbs = false; ///< bad by forecast
    bool stays = false;  ///< if it is not bad: it is not good either
};

struct HostMemory {
    HostSample sample; ///< latest
    Amount demand;
    std::array<Series, resource_count> series;
    /// Two minutes, and twenty: what climbs slowly is seen only from farther away.
    std::array<Recent, resource_count> fast{Recent(10), Recent(10), Recent(10), Recent(10)};
    std::array<Recent, resource_count> slow{Recent(100), Recent(100), Recent(100), Recent(100)};
    std::array<Climb, resource_count> climb;      ///< of `fast`
    std::array<Climb, resource_count> slow_climb; ///< of `slow`
    std::array<Watch, resource_count> watch;      ///< that of memory is for swapping
    Amount later;
    double later_at = 0;
    Amount capacity;       ///< as the series know it
    double taken_in = 0;   ///< time of the sample that the series end with
    double swapped_at = 0; ///< time of the last sample that was bad by swapping
    bool news = false;
    bool fresh = false;
};

struct VmMemory {
    double time = 0;
    Amount demand;
    Amount later;
    std::array<Series, resource_count> series;
    float wait = 0;
    float dirty_rate = 0;
    float got = 0; ///< of the direction that it wants more of
    float expected = 0;
    Resource direction = Resource::Tx;
    HostId counted_on = no_host; ///< the host whose series include it
    Watch watch;                 ///< of its bandwidth
};

struct Observer::State {
    State(const Fleet& of, ObserverRules with) : fleet(of), rules(with) {}

    const Fleet& fleet;
    ObserverRules rules;
    std::vector<HostMemory> hosts;
    std::vector<VmMemory> vms;
    std::vector<Season> seasons; ///< by VmId; empty without
    std::vector<Hotspot> hotspots;
    uint64_t last_id = 0;
    double horizon = Rules{}.horizon;

    void grow();
    void follow_moves();
    void forget_if_stale(double now);
    void take_in(HostId host);
    [[nodiscard]] Amount demand_on(HostId host) const;
    void follow_capacity(HostId host);
    void look_ahead(HostId host);

    // hotspot_finder.cpp
    void watch_host(HostId host, double past);
    void watch_memory(HostMemory& host, const HostSpec& spec, double past, bool nears);
    void watch_vm(VmMemory& vm, double past);
    /// For how long a resource must be short; of memory: for how long its host must swap.
    [[nodiscard]] double persistence_of(Resource resource) const
    {
        return resource == Resource::Memory ? rules.swap_persistence : rules.persistence;
    }
    void collect(double now);
    void report_host(HostId host, Resource resource);
    void report_vm(VmId vm);
    void step(Watch& watch, const Look& look, double persistence);
    [[nodiscard]] bool climbs(const HostMemory& host, const HostSpec& spec,
                              Resource resource) const;
    [[nodiscard]] bool creeps(const HostMemory& host, const HostSpec& spec,
                              Resource resource) const;
    /// A level that jumped is believed when the hotspot that it makes is: then the plan knows it.
    [[nodiscard]] float belief_of(size_t resource) const
    {
        return static_cast<float>(persistence_of(all_resources[resource]));
    }

    [[nodiscard]] bool is_fresh(double time, double now) const
    {
        return time > 0 && now - time <= rules.stale && time - now <= rules.stale;
    }
};

/// A climb's strength from which it counts: so many standard errors of its slope.
constexpr double well_founded = 4;

/// Part of the normal distribution below `deviations` standard deviations.
[[nodiscard]] double normal_part(double deviations);

} // namespace drover::balancer
