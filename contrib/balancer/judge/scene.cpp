// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/judge/scene.h"

#include "contrib/balancer/judge/observer_state.h"

#include <algorithm>
#include <cmath>

namespace drover::balancer {

namespace {

constexpr double least_doubt = 0.03; ///< of the capacity: no forecast is surer
constexpr double excess_weight =
    2;                          ///< a host at 1.5 times its threshold is twice as hot as one at it
constexpr double far_below = 4; ///< standard deviations below which the heat is nothing
constexpr double drain_s = 60;  ///< a host that swaps needs room for what it swaps out in so long
constexpr double most_drain = 0.2; ///< … but for no more than this part of its memory
constexpr double setup_s = 1;      ///< a migration's beginning and end
constexpr double hopeless = 0.9;   ///< of the link's rate written: rounds do not end
constexpr double fallback_link = 125e6;
constexpr double usual_downtime = 0.05;
constexpr double long_downtime = 0.5;
constexpr double host_share = 0.02; ///< that the guests beside it feel of a migration

} // namespace

Scene::Scene(const Snapshot& snapshot) : snapshot_(snapshot), hosts_(snapshot.hosts.size())
{
    for (HostId id = 0; id < hosts_.size(); ++id) {
        hosts_[id].after = hosts_[id].peak = snapshot.hosts[id].predicted;
        hosts_[id].later = snapshot.hosts[id].later;
    }
    read_past();
    read_in_flight();
    read_hotspots();
    for (HostId id = 0; id < hosts_.size(); ++id)
        if (fleet().has_host(id))
            hosts_[id].heat = heat(id, hosts_[id].after, hosts_[id].later);
}

void Scene::read_past()
{
    for (const PastMove& move : snapshot_.recent) {
        const double age = snapshot_.now - move.time;
        past_[move.vm].push_back(&move);
        if (move.failed || age >= rules().host_cool_down)
            continue;
        for (const HostId id : {move.from, move.to})
            if (id < hosts_.size())
                hosts_[id].cooling = true;
    }
}

void Scene::read_in_flight()
{
    for (const InFlight& move : snapshot_.in_flight) {
        if (move.vm >= snapshot_.vms.size() || move.from >= hosts_.size() ||
            move.to >= hosts_.size())
            continue;
        going_[move.vm] = move.to;
        ++hosts_[move.from].out;
        ++hosts_[move.to].in;
        const Amount& load = load_of(move.vm);
        hosts_[move.from].after -= load;
        hosts_[move.to].after += load;
        hosts_[move.to].peak += load;
    }
}

void Scene::read_hotspots()
{
    for (const Hotspot& spot : snapshot_.hotspots) {
        if (spot.host >= hosts_.size())
            continue;
        HostState& host = hosts_[spot.host];
        host.hot = true;
        if (!spot.swapping)
            continue;
        // What it swaps out it has no room for, whatever its memory looks like.
        const HostSpec& spec = fleet().host(spot.host);
        const double capacity = spec.capacity[Resource::Memory];
        const double drain = std::min(spot.value * drain_s, most_drain * capacity);
        double& after = host.after[Resource::Memory];
        if (snapshot_.in_flight.empty() || host.out == 0)
            after = std::max(after, spec.threshold[Resource::Memory] * capacity + drain);
    }
    // First what was begun: where migrations in flight will do, no more are thought of.
    for (HostId id = 0; id < hosts_.size(); ++id)
        if (hosts_[id].hot && hosts_[id].out > 0 && is_below(id)) {
            hosts_[id].hot = false;
            hosts_[id].cooling = true;
        }
}

bool Scene::is_below(HostId id) const
{
    const HostSpec& spec = fleet().host(id);
    return std::all_of(all_resources.begin(), all_resources.end(), [&](Resource r) {
        return spec.capacity[r] <= 0 || hosts_[id].after[r] <= spec.threshold[r] * spec.capacity[r];
    });
}

/// The mean over the horizon of how sure it is that a resource is above its threshold, and by how
/// much, summed over the resources.
double Scene::heat(HostId id, const Amount& after, const Amount& later) const
{
    const HostSpec& spec = fleet().host(id);
    const HostView& view = snapshot_.hosts[id];
    double sum = 0;
    for (size_t r = 0; r < resource_count; ++r) {
        const double capacity = spec.capacity.part[r];
        const double threshold = spec.threshold.part[r] * capacity;
        const double sigma = std::max(view.sigma.part[r], least_doubt * capacity);
        const double most = after.part[r] + later.part[r];
        if (capacity <= 0 || most < threshold - far_below * sigma)
            continue;
        for (const double load : {after.part[r], most})
            sum += normal_part((load - threshold) / sigma) / 2 +
                   excess_weight * std::max(0.0, load - threshold) / capacity / 2;
    }
    return sum * rules().horizon;
}

double Scene::limit(HostId id, Resource r) const
{
    const HostSpec& spec = fleet().host(id);
    return std::max(0.0, spec.threshold[r] - spec.reserve[r]) * spec.capacity[r];
}

MoveCost Scene::cost(const Step& step) const
{
    const HostSpec& from = fleet().host(step.from);
    const HostSpec& to = fleet().host(step.to);
    const VmView& vm = snapshot_.vms[step.vm];
    MoveCost cost;
    cost.slowdown = rules().default_slowdown;
    if (const auto told = snapshot_.forecasts.find(step.vm); told != snapshot_.forecasts.end()) {
        const MigrationForecast& forecast = told->second;
        cost = {forecast.seconds,  forecast.bytes,      forecast.downtime,
                forecast.slowdown, forecast.keeps_wish, false};
    } else {
        const auto share = [](const HostSpec& spec, const HostState& state) {
            return (spec.link > 0 ? spec.link : fallback_link) / double(1 + state.in + state.out);
        };
        const double rate = std::min(share(from, hosts_[step.from]), share(to, hosts_[step.to]));
        // What it holds on the host counts the emulator too; what is sent is at most its RAM.
        const double size = fleet().vm(step.vm).memory;
        const double held = vm.predicted[Resource::Memory] + fleet().vm(step.vm).huge;
        const double memory = held > 0 && size > 0 ? std::min(held, size) : std::max(held, size);
        const double written = std::min(vm.dirty_rate / rate, hopeless);
        cost.bytes = memory / (1 - written);
        cost.seconds = setup_s + cost.bytes / rate;
        cost.keeps_wish = written < hopeless;
        cost.downtime = cost.keeps_wish ? usual_downtime : long_downtime;
    }
    cost.disturbance = rules().move_fee + rules().downtime_weight * cost.downtime +
                       (cost.slowdown + host_share) * cost.seconds +
                       (cost.keeps_wish ? 0 : rules().broken_wish);
    return cost;
}

void Scene::apply(const Step& step, int sign)
{
    HostState& from = hosts_[step.from];
    HostState& to = hosts_[step.to];
    const Amount& load = load_of(step.vm);
    const Amount& later = snapshot_.vms[step.vm].later;
    if (sign > 0) {
        going_[step.vm] = step.to;
        from.after -= load, from.later -= later;
        to.after += load, to.peak += load, to.later += later;
    } else {
        going_.erase(step.vm);
        from.after += load, from.later += later;
        to.after -= load, to.peak -= load, to.later -= later;
    }
    from.out += static_cast<unsigned>(sign);
    to.in += static_cast<unsigned>(sign);
    from.heat = heat(step.from, from.after, from.later);
    to.heat = heat(step.to, to.after, to.later);
}

Reason Scene::numbers_refusal(HostId id, unsigned in, unsigned out) const
{
    const HostSpec& spec = fleet().host(id);
    const HostState& host = hosts_[id];
    if (out > 0 && host.out + out > spec.max_out)
        return Reason::TooManyOut;
    if (in > 0 && host.in + in > spec.max_in)
        return Reason::TooManyIn;
    return host.in + host.out + in + out > rules().max_per_link ? Reason::LinkBusy : Reason::None;
}

/// A host that is hot may take part in a swap, if it gets no worse of anything that it has too
/// much of.
Reason Scene::room_refusal(HostId id, const Amount& final) const
{
    const HostState& host = hosts_[id];
    for (const Resource r : all_resources) {
        const double allowed = host.hot ? std::max(limit(id, r), host.peak[r]) : limit(id, r);
        if (fleet().host(id).capacity[r] > 0 && final[r] > allowed)
            return r == Resource::Cpu      ? Reason::NoRoomCpu
                   : r == Resource::Memory ? Reason::NoRoomMemory
                                           : Reason::NoRoomBandwidth;
    }
    return Reason::None;
}

/// What steps do to one host.
struct Scene::Touch {
    HostId host = no_host;
    Amount in;
    Amount out;
    Amount later;
    unsigned ins = 0;
    unsigned outs = 0;
    double seconds = 0; ///< from now until the last of them is over
};

namespace {

/// Without allocating: plans are made of millions of these.
template <typename Touch> class Touches {
public:
    Touch& at(HostId id)
    {
        for (size_t i = 0; i < count_; ++i)
            if (all_[i].host == id)
                return all_[i];
        all_[count_].host = id;
        return all_[count_++];
    }
    [[nodiscard]] const Touch* begin() const { return all_.data(); }
    [[nodiscard]] const Touch* end() const { return all_.data() + count_; }

private:
    std::array<Touch, 2 * most_steps> all_;
    size_t count_ = 0;
};

} // namespace

Outcome Scene::evaluate(std::span<const Step> steps) const
{
    if (steps.size() > most_steps)
        return {Reason::TooManyOut, steps[0].from};
    for (size_t i = 0; i < steps.size(); ++i)
        for (size_t j = 0; j < i; ++j)
            if (steps[i].to == steps[j].to && must_part(steps[i].vm, steps[j].vm))
                return {Reason::Apart, steps[i].to};
    Touches<Touch> touches;
    std::array<double, most_steps> ends{};
    Outcome outcome;
    for (size_t i = 0; i < steps.size(); ++i) {
        const Step& step = steps[i];
        Touch& from = touches.at(step.from);
        from.out += load_of(step.vm), from.later -= snapshot_.vms[step.vm].later, ++from.outs;
        Touch& to = touches.at(step.to);
        to.in += load_of(step.vm), to.later += snapshot_.vms[step.vm].later, ++to.ins;
        const MoveCost price = cost(step);
        outcome.disturbance += price.disturbance;
        ends[i] = price.seconds;
    }
    for (const Touch& at : touches)
        if (const Reason refusal = touch_refusal(at); refusal != Reason::None)
            return {refusal, at.host};
    const bool exchange = std::any_of(touches.begin(), touches.end(),
                                      [](const Touch& at) { return at.ins > 0 && at.outs > 0; });
    if (exchange && !wait_for_others(steps, ends))
        return {Reason::NoRoomMemory, no_host};
    for (size_t i = 0; i < steps.size(); ++i)
        for (const HostId id : {steps[i].from, steps[i].to})
            touches.at(id).seconds = std::max(touches.at(id).seconds, ends[i]);
    for (const Touch& at : touches)
        outcome.heat += heat_change(at);
    return outcome;
}

Reason Scene::touch_refusal(const Touch& at) const
{
    const Reason refusal = numbers_refusal(at.host, at.ins, at.outs);
    return refusal == Reason::None && at.ins > 0
               ? room_refusal(at.host, hosts_[at.host].peak + at.in - at.out)
               : refusal;
}

/// What is saved of a host's heat if that takes so long. It is surely hot until then; how hot it
/// will be later is a guess, and what is wrong then can be moved then. So what is quick counts more
/// than what is thorough.
double Scene::part_gained(double seconds) const
{
    return 1 / (1 + seconds / rules().patience);
}

/// Of a host that is well, only what is made worse counts: nobody asked for more.
double Scene::heat_change(const Touch& at) const
{
    const HostState& host = hosts_[at.host];
    const double change =
        heat(at.host, host.after + at.in - at.out, host.later + at.later) - host.heat;
    if (!host.hot)
        return std::max(0.0, change);
    return change < 0 ? change * part_gained(at.seconds) : change;
}

/// `ends` are how long the steps take (s), and become when they are over, each after those that
/// must have ended before it. False if no order will do.
bool Scene::wait_for_others(std::span<const Step> steps, std::span<double> ends) const
{
    std::vector<size_t> sequence;
    const auto waits = order(steps, sequence);
    if (!waits)
        return false;
    for (const size_t i : sequence) {
        double begin = 0;
        for (const size_t other : (*waits)[i])
            begin = std::max(begin, ends[other]);
        ends[i] += begin;
    }
    return true;
}

/// While others have yet to leave: a host that is hot anyway may be hotter for a moment, but its
/// memory must do.
bool Scene::fits_meanwhile(HostId id, const Amount& load) const
{
    const HostSpec& spec = fleet().host(id);
    for (const Resource r : all_resources) {
        const double capacity = spec.capacity[r];
        if (capacity <= 0 || load[r] <= limit(id, r))
            continue;
        const bool is_hot = hosts_[id].hot && r != Resource::Memory &&
                            hosts_[id].peak[r] > spec.threshold[r] * capacity;
        if (!is_hot)
            return false;
    }
    return true;
}

std::optional<std::vector<std::vector<size_t>>> Scene::order(std::span<const Step> steps,
                                                             std::vector<size_t>& sequence) const
{
    std::unordered_map<HostId, Amount> load;
    for (const Step& step : steps)
        for (const HostId id : {step.from, step.to})
            load.emplace(id, hosts_[id].peak);
    std::vector<std::vector<size_t>> after(steps.size());
    std::vector<bool> placed(steps.size());
    std::vector<bool> left(steps.size()); // its end has been waited for
    sequence.clear();
    while (sequence.size() < steps.size()) {
        const size_t before = sequence.size();
        for (size_t i = 0; i < steps.size(); ++i) {
            if (placed[i] || !fits_meanwhile(steps[i].to, load[steps[i].to] + load_of(steps[i].vm)))
                continue;
            for (size_t j = 0; j < steps.size(); ++j)
                if (left[j] && steps[j].from == steps[i].to)
                    after[i].push_back(j);
            load[steps[i].to] += load_of(steps[i].vm);
            placed[i] = true;
            sequence.push_back(i);
        }
        if (sequence.size() == steps.size())
            break;
        // Nothing more can begin: wait for what has begun.
        bool waited = false;
        for (const size_t i : sequence)
            if (!left[i]) {
                load[steps[i].from] -= load_of(steps[i].vm);
                left[i] = waited = true;
            }
        if (!waited && sequence.size() == before)
            return std::nullopt;
    }
    return after;
}

} // namespace drover::balancer
