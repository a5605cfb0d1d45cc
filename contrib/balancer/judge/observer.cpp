// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/judge/observer.h"

#include "contrib/balancer/judge/observer_state.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace drover::balancer {

namespace {

constexpr double look_later_every = 60; ///< s between two looks at a host's season

bool is_sound(std::initializer_list<double> numbers)
{
    return std::all_of(numbers.begin(), numbers.end(),
                       [](double x) { return std::isfinite(x) && x >= 0; });
}

bool is_sound(const Amount& amount)
{
    return is_sound({amount.part[0], amount.part[1], amount.part[2], amount.part[3]});
}

/// The direction in which a guest that wants more lacks most of what it was promised. One that it
/// hardly uses is not what it wants.
void find_shortfall(VmMemory& vm, const VmSample& sample, const VmSpec& spec)
{
    constexpr double hardly = 0.1;
    vm.expected = 0;
    if (!sample.wants_more)
        return;
    const double rx = sample.expected_rx > 0 ? sample.expected_rx : spec.expected_rx;
    const double tx = sample.expected_tx > 0 ? sample.expected_tx : spec.expected_tx;
    const double rx_part = rx > 0 ? sample.used[Resource::Rx] / rx : 0;
    const double tx_part = tx > 0 ? sample.used[Resource::Tx] / tx : 0;
    const bool rx_wanted = rx > 0 && (rx_part >= hardly || rx_part >= tx_part);
    const bool tx_wanted = tx > 0 && (tx_part >= hardly || tx_part >= rx_part);
    if (!rx_wanted && !tx_wanted)
        return;
    vm.direction = rx_wanted && (!tx_wanted || rx_part < tx_part) ? Resource::Rx : Resource::Tx;
    vm.got = static_cast<float>(sample.used[vm.direction]);
    vm.expected = static_cast<float>(vm.direction == Resource::Rx ? rx : tx);
}

} // namespace

Observer::Observer(const Fleet& fleet, ObserverRules rules)
    : state_(std::make_unique<State>(fleet, rules))
{
}

Observer::~Observer() = default;

const std::vector<Hotspot>& Observer::hotspots() const
{
    return state_->hotspots;
}

void Observer::see_host(HostId host, const HostSample& sample)
{
    state_->grow();
    if (!state_->fleet.has_host(host) || !is_sound(sample.used) || !is_sound(sample.migrating) ||
        !is_sound({sample.time, sample.steal, sample.swap_in, sample.swap_out, sample.swapped,
                   sample.memory_pressure}))
        return;
    HostMemory& known = state_->hosts[host];
    if (sample.time <= known.sample.time)
        return;
    if (sample.time - known.sample.time > state_->rules.stale)
        known = {}; // a hole: what was before it says nothing about now
    known.sample = sample;
    known.news = true;
}

void Observer::see_vm(VmId id, const VmSample& sample)
{
    State& state = *state_;
    state.grow();
    if (!state.fleet.has_vm(id) || !is_sound(sample.used) ||
        !is_sound({sample.time, sample.cpu_wait, sample.expected_rx, sample.expected_tx,
                   sample.dirty_rate}))
        return;
    VmMemory& vm = state.vms[id];
    if (sample.time <= vm.time)
        return;
    double past = sample.time - vm.time;
    if (past > state.rules.stale) {
        past = 0; // what it did in a hole is not known
        const HostId counted_on = vm.counted_on;
        vm = {};
        vm.counted_on = counted_on;
    }
    vm.time = sample.time;
    vm.wait = static_cast<float>(sample.cpu_wait);
    if (sample.dirty_rate > 0)
        vm.dirty_rate = static_cast<float>(sample.dirty_rate);
    find_shortfall(vm, sample, state.fleet.vm(id));
    vm.demand = sample.used;
    vm.demand[Resource::Cpu] += sample.cpu_wait;
    if (vm.expected > 0)
        vm.demand[vm.direction] = std::max<double>(vm.demand[vm.direction], vm.expected);
    for (size_t r = 0; r < resource_count; ++r)
        vm.series[r].add(static_cast<float>(vm.demand.part[r]), static_cast<float>(past),
                         state.belief_of(r));
    if (state.rules.seasons)
        state.seasons[id].add(sample.time, vm.demand);
    state.watch_vm(vm, past);
}

void Observer::judge(double now)
{
    State& state = *state_;
    state.grow();
    state.follow_moves();
    state.forget_if_stale(now);
    for (HostId host = 0; host < state.hosts.size(); ++host)
        if (state.hosts[host].news)
            state.take_in(host);
    state.collect(now);
}

void Observer::State::grow()
{
    if (hosts.size() < fleet.host_ids())
        hosts.resize(fleet.host_ids());
    if (vms.size() >= fleet.vm_ids())
        return;
    vms.resize(fleet.vm_ids());
    if (rules.seasons)
        seasons.resize(fleet.vm_ids());
}

/// A VM that moved takes its part of the hosts' levels with it; otherwise its coming would look
/// like a sudden rise, and its going like a climb that ended.
void Observer::State::follow_moves()
{
    for (VmId id = 0; id < vms.size(); ++id) {
        VmMemory& vm = vms[id];
        const HostId where = fleet.has_vm(id) ? fleet.host_of(id) : no_host;
        if (vm.counted_on == where || vm.time <= 0)
            continue;
        for (size_t r = 0; r < resource_count; ++r) {
            const float level = vm.series[r].level();
            if (vm.counted_on != no_host) {
                hosts[vm.counted_on].series[r].shift(-level);
                hosts[vm.counted_on].fast[r].shift(-level);
                hosts[vm.counted_on].slow[r].shift(-level);
            }
            // Nothing is known of a VM that is new: then its host's samples have it already.
            if (where != no_host && vm.counted_on != no_host) {
                hosts[where].series[r].shift(level);
                hosts[where].fast[r].shift(level);
                hosts[where].slow[r].shift(level);
            }
        }
        if (vm.counted_on != no_host)
            vm.watch = {};
        vm.counted_on = where;
        if (where != no_host)
            hosts[where].later_at = 0;
    }
}

void Observer::State::forget_if_stale(double now)
{
    for (HostId id = 0; id < hosts.size(); ++id) {
        HostMemory& host = hosts[id];
        host.fresh = fleet.has_host(id) && is_fresh(host.sample.time, now);
        if (!host.fresh && host.sample.time > 0)
            host = {};
    }
    for (VmMemory& vm : vms)
        if (vm.time > 0 && !is_fresh(vm.time, now)) {
            const HostId counted_on = vm.counted_on;
            const auto series = vm.series; // still what its host's level includes
            vm = {};
            vm.counted_on = counted_on;
            vm.series = series;
        }
}

/// What would be used if there were enough: used, and waited for.
Amount Observer::State::demand_on(HostId id) const
{
    const HostSample& sample = hosts[id].sample;
    Amount demand = sample.used;
    double wait = 0;
    double memory = 0;
    for (const VmId vm_id : fleet.vms_on(id)) {
        const VmMemory& vm = vms[vm_id];
        if (std::abs(vm.time - sample.time) > rules.stale)
            continue;
        wait += vm.wait;
        memory += vm.demand[Resource::Memory];
        if (vm.expected > vm.got)
            demand[vm.direction] += vm.expected - vm.got;
    }
    for (size_t r = 0; r < resource_count; ++r)
        demand.part[r] = std::max(0.0, demand.part[r] - sample.migrating.part[r]);
    demand[Resource::Cpu] += std::max(wait, sample.steal);
    demand[Resource::Memory] = std::max(demand[Resource::Memory], memory);
    return demand;
}

/// Another of the host's networks may be the one that is judged: what is known of how full it is
/// stays, in the other one's unit.
void Observer::State::follow_capacity(HostId id)
{
    HostMemory& host = hosts[id];
    const Amount now = fleet.host(id).capacity;
    for (const Resource r : {Resource::Rx, Resource::Tx}) {
        const auto i = static_cast<size_t>(r);
        const double before = std::exchange(host.capacity[r], now[r]);
        if (before <= 0 || now[r] <= 0 || before == now[r])
            continue;
        const auto factor = static_cast<float>(now[r] / before);
        host.series[i].scale(factor);
        host.fast[i].scale(factor);
        host.slow[i].scale(factor);
    }
}

void Observer::State::take_in(HostId id)
{
    HostMemory& host = hosts[id];
    host.news = false;
    if (!host.fresh)
        return;
    follow_capacity(id);
    host.demand = demand_on(id);
    const double past =
        host.taken_in > 0 ? std::min(host.sample.time - host.taken_in, rules.stale) : 0;
    host.taken_in = host.sample.time;
    for (size_t r = 0; r < resource_count; ++r) {
        const auto value = static_cast<float>(host.demand.part[r]);
        host.series[r].add(value, static_cast<float>(past), belief_of(r));
        host.fast[r].add(host.sample.time, value);
        host.slow[r].add(host.sample.time, value);
    }
    look_ahead(id);
    watch_host(id, past);
}

void Observer::State::look_ahead(HostId id)
{
    constexpr double interesting = 0.5; // of the threshold: below it no climb arrives in time
    HostMemory& host = hosts[id];
    const HostSpec& spec = fleet.host(id);
    for (const Resource r : all_resources) {
        const auto i = static_cast<size_t>(r);
        const bool near =
            host.series[i].level() > interesting * spec.threshold[r] * spec.capacity[r];
        host.climb[i] = near ? host.fast[i].climb(rules.ahead) : Climb{};
        host.slow_climb[i] =
            near && spec.capacity[r] > 0 ? host.slow[i].climb(rules.ahead) : Climb{};
    }
    if (!rules.seasons || host.sample.time - host.later_at < look_later_every)
        return;
    host.later_at = host.sample.time;
    host.later = {};
    for (const VmId vm : fleet.vms_on(id)) {
        vms[vm].later = seasons[vm].later(host.sample.time, horizon);
        host.later += vms[vm].later;
    }
}

Snapshot Observer::snapshot(double now, double horizon) const
{
    Snapshot snapshot;
    snapshot.rules.horizon = horizon;
    fill(snapshot, now);
    return snapshot;
}

namespace {

void show(const HostMemory& host, double horizon, HostView& view)
{
    view.demand = host.demand;
    view.later = host.later;
    view.swap_out = host.sample.swap_out;
    view.fresh = host.fresh && host.series[0].known();
    for (size_t r = 0; r < resource_count; ++r) {
        const Climb& climb = host.climb[r];
        const bool steady = std::abs(climb.strength) < well_founded;
        // Climbs end: half of what the line says is believed, for the plan.
        const double ahead = steady ? host.series[r].level() : (climb.now + climb.ahead) / 2;
        view.predicted.part[r] = std::max(0.0, ahead);
        // What climbs slowly is taken to go on for a quarter of the horizon.
        if (const Climb& slow = host.slow_climb[r]; slow.strength >= well_founded)
            view.later.part[r] = std::max(view.later.part[r], slow.slope * horizon / 4);
        view.sigma.part[r] = std::max<double>(host.series[r].sigma(), steady ? 0 : climb.sigma);
    }
}

/// A hot host needs at least what its guests do: their levels follow a jump sooner than its own,
/// about which all of them fluctuate.
void raise_hot_hosts(Snapshot& snapshot)
{
    for (const Hotspot& spot : snapshot.hotspots) {
        double guests = 0;
        for (const VmId vm : snapshot.fleet->vms_on(spot.host))
            if (snapshot.vms[vm].fresh)
                guests += snapshot.vms[vm].predicted[spot.resource];
        double& host = snapshot.hosts[spot.host].predicted[spot.resource];
        host = std::max(host, guests);
    }
}

} // namespace

void Observer::fill(Snapshot& snapshot, double now) const
{
    State& state = *state_;
    state.grow();
    state.horizon = snapshot.rules.horizon;
    snapshot.fleet = &state.fleet;
    snapshot.now = now;
    snapshot.hosts.resize(state.hosts.size());
    for (size_t id = 0; id < state.hosts.size(); ++id)
        show(state.hosts[id], snapshot.rules.horizon, snapshot.hosts[id]);
    snapshot.vms.resize(state.vms.size());
    for (size_t id = 0; id < state.vms.size(); ++id) {
        const VmMemory& vm = state.vms[id];
        VmView& view = snapshot.vms[id];
        view.demand = vm.demand;
        view.later = vm.later;
        for (size_t r = 0; r < resource_count; ++r)
            view.predicted.part[r] = std::max(0.0F, vm.series[r].level());
        view.dirty_rate = vm.dirty_rate;
        view.fresh = state.is_fresh(vm.time, now);
    }
    snapshot.hotspots = state.hotspots;
    raise_hot_hosts(snapshot);
}

} // namespace drover::balancer
