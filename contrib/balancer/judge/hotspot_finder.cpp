// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/judge/observer_state.h"
#include "contrib/balancer/judge/text.h"

#include <algorithm>
#include <cmath>

namespace drover::balancer {

namespace {

constexpr double climb_sure = 2.58; ///< standard errors that a climb must be above: 99.5 % sure
constexpr double climb_holds = 10;  ///< s for which a climb must be seen
constexpr double material = 0.03;   ///< of the capacity: a climb must have risen so far already
constexpr double material_memory = 0.005; ///< memory is not noisy, and grows slowly
constexpr double creep_reach = 0.5;       ///< standard deviations: three samples of ten are above
constexpr double least_sigma = 0.01;      ///< of the capacity

constexpr double felt_pressure = 0.1; ///< of the time: then tasks do wait for memory
constexpr double swap_pause = 120;    ///< s between two bouts of swapping that are one
constexpr uint8_t least_samples = 3;  ///< bad ones, however much time each stands for
constexpr float forgiving = 1.5F;     ///< bad seconds that a good one makes up for

/// Adds up how long it was bad.
void count(Watch& watch, const Look& look, float past, float persistence)
{
    if (look.bad) {
        watch.bad_s = std::min(watch.bad_s + past, persistence);
        watch.samples = static_cast<uint8_t>(std::min(watch.samples + 1, 100));
        return;
    }
    if (look.stays)
        return;
    watch.bad_s = std::max(0.0F, watch.bad_s - forgiving * past);
    if (watch.bad_s <= 0)
        watch.samples = 0;
}

} // namespace

double normal_part(double deviations)
{
    return 0.5 * std::erfc(-deviations / std::sqrt(2.0));
}

std::string_view to_string(HotspotKind kind)
{
    switch (kind) {
    case HotspotKind::VmBandwidth: return "vm-bandwidth";
    case HotspotKind::HostCpu: return "host-cpu";
    case HotspotKind::HostBandwidth: return "host-bandwidth";
    case HotspotKind::HostSwap: return "host-swap";
    }
    return "";
}

void Observer::State::step(Watch& watch, const Look& look, double persistence)
{
    const auto enough = static_cast<float>(persistence);
    const auto past = static_cast<float>(look.past);
    count(watch, look, past, enough);
    if (watch.samples == 0 && watch.hotspot == 0)
        watch.since = 0;
    else if (look.bad && watch.since == 0)
        watch.since = look.time;
    if (!look.climbs)
        watch.climbs_since = 0;
    else if (watch.climbs_since == 0)
        watch.climbs_since = look.time;
    const bool climbed = look.climbs && look.time - watch.climbs_since >= climb_holds;
    watch.calm_s = look.bad || climbed || look.stays ? 0 : watch.calm_s + past;
    const bool calm = watch.calm_s >= static_cast<float>(rules.calm);
    const bool lasts = watch.bad_s >= enough && watch.samples >= least_samples;
    watch.measured = lasts || (watch.measured && !calm);
    watch.sure = watch.bad_s / enough;
    if (watch.hotspot == 0 && (watch.measured || climbed)) {
        watch.hotspot = ++last_id;
        if (watch.since == 0)
            watch.since = look.time;
    } else if (watch.hotspot != 0 && calm) {
        watch.hotspot = 0;
        watch.since = 0;
        watch.measured = false;
    }
}

/// Well founded: the line is no chance, has risen visibly, and even its lower end gets there.
bool Observer::State::climbs(const HostMemory& host, const HostSpec& spec, Resource r) const
{
    const Climb& climb = host.climb[static_cast<size_t>(r)];
    const double capacity = spec.capacity[r];
    const double least = r == Resource::Memory ? material_memory : material;
    return climb.strength >= well_founded && climb.rise >= least * capacity &&
           climb.ahead - climb_sure * climb.sigma > spec.threshold[r] * capacity;
}

/// A slow climb that has come so near that what fluctuates about it reaches the threshold.
bool Observer::State::creeps(const HostMemory& host, const HostSpec& spec, Resource r) const
{
    const auto i = static_cast<size_t>(r);
    const Climb& climb = host.slow_climb[i];
    const double capacity = spec.capacity[r];
    return climb.strength >= well_founded && climb.rise >= material * capacity &&
           host.series[i].level() + creep_reach * host.series[i].sigma() >
               spec.threshold[r] * capacity;
}

void Observer::State::watch_host(HostId id, double past)
{
    HostMemory& host = hosts[id];
    const HostSpec& spec = fleet.host(id);
    for (const Resource r : all_resources) {
        if (spec.capacity[r] <= 0 || (spec.xen && r == Resource::Memory))
            continue; // Xen swaps nothing, and takes nobody's memory away: a full host is well
        const bool nears = climbs(host, spec, r) || creeps(host, spec, r);
        if (r == Resource::Memory) {
            watch_memory(host, spec, past, nears);
            continue;
        }
        const bool bad = host.demand[r] > spec.threshold[r] * spec.capacity[r];
        step(host.watch[static_cast<size_t>(r)], {host.sample.time, past, bad, nears},
             rules.persistence);
    }
}

namespace {

/// What is in memory, and what was put out of it, do not fit together.
bool is_short(const HostMemory& host, const HostSpec& spec)
{
    const double wanted = std::max(host.demand[Resource::Memory],
                                   host.sample.used[Resource::Memory] + host.sample.swapped);
    return wanted > spec.threshold[Resource::Memory] * spec.capacity[Resource::Memory];
}

/// Whether it swaps for want of memory. Pages that nobody needs are put out by many a host that has
/// memory enough (zram, zswap): then it is not short, nobody waits, and nothing is read back.
bool swaps(const HostMemory& host, const HostSpec& spec)
{
    const HostSample& sample = host.sample;
    return sample.swap_out > spec.swap_out_threshold &&
           (is_short(host, spec) || sample.memory_pressure > felt_pressure ||
            sample.swap_in > spec.swap_out_threshold);
}

bool swapped_lately(const HostMemory& host)
{
    return host.swapped_at > 0 && host.sample.time - host.swapped_at <= swap_pause;
}

} // namespace

/// A host is bad for memory if it swaps, or if there is next to nothing left: without swap the
/// kernel would end an emulator next. It swaps by fits and starts: between two of them it is not
/// over while what it holds does not fit.
void Observer::State::watch_memory(HostMemory& host, const HostSpec& spec, double past, bool nears)
{
    const bool swapping = swaps(host, spec);
    const bool full = host.sample.used[Resource::Memory] >
                      spec.threshold[Resource::Memory] * spec.capacity[Resource::Memory];
    if (swapping)
        host.swapped_at = host.sample.time;
    // Being full must last as long as anything else, swapping is found sooner.
    const double weight = full && !swapping ? rules.swap_persistence / rules.persistence : 1;
    step(host.watch[static_cast<size_t>(Resource::Memory)],
         {host.sample.time, past * weight, swapping || full, nears,
          swapped_lately(host) && is_short(host, spec)},
         rules.swap_persistence);
}

void Observer::State::watch_vm(VmMemory& vm, double past)
{
    const bool bad = vm.expected > 0 && vm.got < rules.vm_shortfall * vm.expected;
    step(vm.watch, {vm.time, past, bad, false}, rules.persistence);
}

void Observer::State::collect(double now)
{
    hotspots.clear();
    for (HostId id = 0; id < hosts.size(); ++id)
        for (const Resource r : all_resources)
            if (hosts[id].fresh && hosts[id].watch[static_cast<size_t>(r)].hotspot != 0)
                report_host(id, r);
    for (VmId id = 0; id < vms.size(); ++id)
        if (vms[id].watch.hotspot != 0 && is_fresh(vms[id].time, now) && fleet.has_vm(id) &&
            fleet.host_of(id) != no_host && hosts[fleet.host_of(id)].fresh)
            report_vm(id);
    std::sort(hotspots.begin(), hotspots.end(), [](const Hotspot& a, const Hotspot& b) {
        return a.sure != b.sure ? a.sure > b.sure : a.id < b.id;
    });
}

namespace {

/// "; most: a 3.1 cores, b 2.0 cores".
std::string greatest_users(const Fleet& fleet, const std::vector<VmMemory>& vms, HostId host,
                           Resource resource)
{
    const auto on = fleet.vms_on(host);
    std::vector<VmId> most(on.begin(), on.end());
    const size_t shown = std::min<size_t>(most.size(), 3);
    const auto demand = [&](VmId vm) { return vms[vm].demand[resource]; };
    std::partial_sort(
        most.begin(), most.begin() + static_cast<ptrdiff_t>(shown), most.end(),
        [&](VmId a, VmId b) { return demand(a) != demand(b) ? demand(a) > demand(b) : a < b; });
    std::string text;
    for (size_t i = 0; i < shown; ++i)
        text += (i == 0 ? "; most: " : ", ") + fleet.vm(most[i]).name + " " +
                text_of(resource, demand(most[i]));
    return text;
}

/// What is wanted, of what there is.
std::string demand_text(Resource r, double value, double capacity, double threshold)
{
    return text_of(r, value) + " of " + text_of(r, capacity) + " wanted, " +
           percent(value / capacity) + " where " + percent(threshold) + " is the threshold";
}

} // namespace

void Observer::State::report_host(HostId id, Resource r)
{
    const HostMemory& host = hosts[id];
    const HostSpec& spec = fleet.host(id);
    const auto i = static_cast<size_t>(r);
    const Watch& watch = host.watch[i];
    const Climb& climb = host.climb[i];
    const double capacity = spec.capacity[r];
    Hotspot spot{.id = watch.hotspot, .host = id, .resource = r, .since = watch.since};
    spot.kind = r == Resource::Cpu      ? HotspotKind::HostCpu
                : r == Resource::Memory ? HotspotKind::HostSwap
                                        : HotspotKind::HostBandwidth;
    spot.forecast = !watch.measured;
    spot.threshold = spec.threshold[r] * capacity;
    spot.value = host.demand[r];
    spot.predicted = std::abs(climb.strength) >= well_founded ? std::max(0.0, climb.ahead)
                                                              : host.series[i].level();
    const double sigma = std::max(least_sigma * capacity,
                                  spot.forecast ? climb.sigma : double(host.series[i].sigma()));
    const double above = normal_part((spot.predicted - spot.threshold) / sigma);
    spot.sure = spot.forecast ? above : 0.5 * watch.sure + 0.5 * above;
    if (r == Resource::Memory && watch.measured && swapped_lately(host)) {
        spot.swapping = true;
        spot.value = host.sample.swap_out;
        spot.predicted = host.sample.swap_out;
        spot.threshold = spec.swap_out_threshold;
        spot.sure = std::max<double>(watch.sure, 0.5);
        spot.cause = (host.sample.swap_out > 0 ? "it swaps out " + rate_text(host.sample.swap_out)
                                               : std::string("it swapped out until a moment ago")) +
                     ", " + text_of(r, host.sample.used[r]) + " of " + text_of(r, capacity) +
                     " are used and " + text_of(r, host.sample.swapped) + " more are in swap";
    } else if (spot.forecast) {
        spot.cause = std::string(words_of(r)) + " climbs by " + text_of(r, climb.slope * 60) +
                     " a minute and is at " + percent(climb.now / capacity) + ": " +
                     percent(climb.ahead / capacity) + " in a minute, the threshold is " +
                     percent(spec.threshold[r]);
    } else {
        spot.cause = std::string(words_of(r)) + ": " +
                     demand_text(r, spot.value, capacity, spec.threshold[r]);
    }
    spot.cause += greatest_users(fleet, vms, id, r);
    hotspots.push_back(std::move(spot));
}

void Observer::State::report_vm(VmId id)
{
    const VmMemory& vm = vms[id];
    const HostId on = fleet.host_of(id);
    const HostSpec& spec = fleet.host(on);
    Hotspot spot{.id = vm.watch.hotspot,
                 .kind = HotspotKind::VmBandwidth,
                 .host = on,
                 .vm = id,
                 .resource = vm.direction,
                 .since = vm.watch.since,
                 .sure = vm.watch.sure};
    spot.value = vm.got;
    spot.predicted = vm.got;
    spot.threshold = rules.vm_shortfall * vm.expected;
    spot.cause = "it wants more and gets " + rate_text(vm.got) + " of the " +
                 rate_text(vm.expected) + " promised";
    if (const double capacity = spec.capacity[vm.direction]; capacity > 0)
        spot.cause += "; on " + spec.name + " " +
                      demand_text(vm.direction, hosts[on].demand[vm.direction], capacity,
                                  spec.threshold[vm.direction]);
    hotspots.push_back(std::move(spot));
}

} // namespace drover::balancer
