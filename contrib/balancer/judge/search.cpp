// SPDX-License-Identifier: GPL-2.0-or-later
//
// Hot hosts are served one after another, the hottest first. For each, options are collected (a VM
// to a host; VMs that belong together; a swap; room made by moving a third), and a beam search
// combines them. Small fleets are served in several orders, and each host once more after all; the
// smallest are then searched to the end.
#include "contrib/balancer/judge/search.h"

#include "contrib/balancer/judge/exact.h"

#include <algorithm>

namespace drover::balancer {

namespace {

constexpr double warm = 0.02;     ///< of the horizon: a cooler host needs nothing
constexpr double better = 1e-6;   ///< s: less is rounding
constexpr size_t exact_hosts = 8; ///< and fewer: what is best is looked for, not what is likely
constexpr size_t exact_vms = 30;
constexpr size_t exact_nodes = 200'000; ///< a fifth of a second
constexpr size_t tiny_hosts = 16;
constexpr size_t small_hosts = 128;
constexpr size_t scanned = 400; ///< hosts that are asked for one VM in a large fleet

bool shares_vm(const std::vector<Step>& a, const std::vector<Step>& b)
{
    return std::any_of(a.begin(), a.end(), [&](const Step& x) {
        return std::any_of(b.begin(), b.end(), [&](const Step& y) { return x.vm == y.vm; });
    });
}

bool precedes(const Step& a, const Step& b)
{
    return a.vm != b.vm ? a.vm < b.vm : a.to < b.to;
}

} // namespace

Effort Effort::of(size_t hosts, size_t vms, size_t hot)
{
    const bool exact = hosts <= exact_hosts && vms <= exact_vms; // it needs a beginning only
    if (!exact && hosts <= tiny_hosts)
        return {40, tiny_hosts, 64, 6, 40, tiny_hosts, 160, hot <= 2 ? 2U : 3U};
    if (exact || (hosts <= small_hosts && hot <= 4))
        return {10, 12, 6, 3, 4, 6, 24, 2, exact};
    return {};
}

Search::Search(Scene& scene) : scene_(scene), moves_left_(scene.rules().max_moves)
{
    effort_ = Effort::of(scene.host_count(), scene.fleet().vm_ids(), hot_hosts().size());
    std::vector<std::pair<double, HostId>> ranked;
    for (HostId id = 0; id < scene.host_count(); ++id) {
        // Cool-downs are asked for later: an evacuation does not mind them.
        if (scene.door_refusal(id) != Reason::None)
            continue;
        double fullest = 0;
        for (const Resource r : all_resources)
            if (const double limit = scene.limit(id, r); limit > 0)
                fullest =
                    std::max(fullest, (scene.host(id).peak[r] + scene.host(id).later[r]) / limit);
        ranked.emplace_back(fullest, id);
    }
    std::sort(ranked.begin(), ranked.end());
    for (const auto& [fullest, id] : ranked)
        pool_.push_back(id);
}

void Search::commit(const Option& steps)
{
    for (const Step& step : steps)
        scene_.commit(step);
    moves_left_ -= std::min(moves_left_, steps.size());
}

void Search::undo(const Option& steps)
{
    for (const Step& step : steps)
        scene_.undo(step);
    moves_left_ += steps.size();
}

/// The hottest first.
std::vector<HostId> Search::hot_hosts() const
{
    std::vector<HostId> hot;
    for (HostId id = 0; id < scene_.host_count(); ++id)
        if (scene_.host(id).hot && scene_.fleet().has_host(id) &&
            !scene_.fleet().host(id).evacuating &&
            scene_.host(id).heat > warm * scene_.rules().horizon)
            hot.push_back(id);
    std::stable_sort(hot.begin(), hot.end(),
                     [&](HostId a, HostId b) { return scene_.host(a).heat > scene_.host(b).heat; });
    return hot;
}

std::vector<Relief> Search::relieve()
{
    const std::vector<HostId> hot = hot_hosts();
    std::vector<Relief> best = one_after_another(hot);
    if (!hot.empty() && scene_.host_count() <= tiny_hosts)
        best = all_at_once(hot, std::move(best));
    for (const Relief& relief : best)
        commit(relief.steps);
    return best;
}

std::vector<Relief> Search::one_after_another(std::vector<HostId> order)
{
    std::vector<Relief> best;
    double best_score = 0;
    for (size_t turn = 0; turn < effort_.orders && !order.empty(); ++turn) {
        std::vector<Relief> found = serve(order);
        if (effort_.orders > 1)
            improve(found);
        double score = 0;
        for (const Relief& relief : found)
            score += relief.score;
        for (const Relief& relief : found)
            undo(relief.steps);
        if (score < best_score - better) {
            best = std::move(found);
            best_score = score;
        }
        std::next_permutation(order.begin(), order.end(), std::greater<>());
    }
    return best;
}

/// What is likely to be best, and then, in fleets that are small enough, what is.
std::vector<Relief> Search::all_at_once(const std::vector<HostId>& hot,
                                        std::vector<Relief> known) const
{
    Way way;
    for (const Relief& relief : known)
        way.steps.insert(way.steps.end(), relief.steps.begin(), relief.steps.end());
    if (!way.steps.empty()) {
        const Outcome outcome = scene_.evaluate(way.steps);
        if (!outcome.possible())
            return known;
        way.score = outcome.score();
    }
    const double before = way.score;
    if (effort_.exact) {
        ExactResult exact =
            solve_exactly(scene_, {.known = way.score, .nodes = exact_nodes, .steps = moves_left_});
        if (!exact.steps.empty())
            way = {std::move(exact.steps), exact.score};
    } else if (hot.size() > 1) {
        way = together(hot, std::move(way));
    }
    return way.score < before - better ? split(way, hot) : known;
}

/// What one hot host leaves free another may need.
Search::Way Search::together(const std::vector<HostId>& hot, Way start) const
{
    std::vector<Option> options;
    for (const HostId host : hot) {
        const std::vector<Option> leaving = units(host);
        std::vector<Option> own = single_options(leaving);
        add_exchanges(host, leaving, own);
        options.insert(options.end(), own.begin(), own.end());
    }
    Way fresh = polish(beam(options, {}), options);
    Way old = polish(std::move(start), options);
    return fresh.score < old.score - better ? fresh : old;
}

/// Takes one or two steps out and looks for better ones in their place, until none are found.
Search::Way Search::polish(Way way, const std::vector<Option>& options) const
{
    for (bool improved = true; improved;) {
        improved = false;
        const Way before = way;
        for (size_t i = 0; i < before.steps.size(); ++i)
            for (size_t j = i; j < before.steps.size(); ++j) {
                Way rest;
                for (size_t k = 0; k < before.steps.size(); ++k)
                    if (k != i && k != j)
                        rest.steps.push_back(before.steps[k]);
                if (!rest.steps.empty()) {
                    const Outcome outcome = scene_.evaluate(rest.steps);
                    rest.score = outcome.possible() ? outcome.score() : 0;
                }
                Way found = beam(options, std::move(rest));
                if (found.score < way.score - better && !found.steps.empty() &&
                    scene_.evaluate(found.steps).possible()) {
                    way = std::move(found);
                    improved = true;
                }
            }
    }
    return way;
}

/// By the host that each step cools; where steps hang together, all in one.
std::vector<Relief> Search::split(const Way& way, const std::vector<HostId>& hot) const
{
    std::vector<Relief> reliefs;
    const bool exchange = std::any_of(way.steps.begin(), way.steps.end(), [&](const Step& step) {
        return !scene_.host(step.from).hot || scene_.host(step.to).hot;
    });
    if (exchange) {
        HostId host = hot[0];
        for (const Step& step : way.steps)
            if (scene_.host(step.from).hot)
                host = step.from;
        return {{host, way.steps, way.score}};
    }
    for (const HostId host : hot) {
        Relief relief{host, {}, 0};
        for (const Step& step : way.steps)
            if (step.from == host)
                relief.steps.push_back(step);
        if (!relief.steps.empty())
            reliefs.push_back(std::move(relief));
    }
    return reliefs;
}

std::vector<Relief> Search::serve(const std::vector<HostId>& order)
{
    std::vector<Relief> reliefs;
    for (const HostId host : order) {
        if (moves_left_ == 0)
            break;
        Way way = cool(host);
        if (way.steps.empty())
            continue;
        commit(way.steps);
        reliefs.push_back({host, std::move(way.steps), way.score});
    }
    return reliefs;
}

/// Each once more, now that the others are known.
void Search::improve(std::vector<Relief>& reliefs)
{
    for (Relief& relief : reliefs) {
        undo(relief.steps);
        const Outcome now = scene_.evaluate(relief.steps);
        Way way = cool(relief.host);
        if (now.possible() && way.score >= now.score() - better)
            way = {relief.steps, now.score()};
        relief.steps = std::move(way.steps);
        relief.score = way.score;
        commit(relief.steps);
    }
    std::erase_if(reliefs, [](const Relief& relief) { return relief.steps.empty(); });
}

Search::Way Search::cool(HostId host) const
{
    const std::vector<Option> leaving = units(host);
    std::vector<Option> options = single_options(leaving);
    Way way = beam(options, {});
    // What remains is worth a harder look only if it is more than a swap would disturb.
    if (scene_.host(host).heat + way.score < warm * scene_.rules().horizon)
        return way;
    const size_t singles = options.size();
    add_exchanges(host, leaving, options);
    if (options.size() == singles)
        return way;
    Way harder = beam(options, {});
    return harder.score < way.score - better ? harder : way;
}

/// The VMs of a host that may leave it, those that belong together as one; the most helpful first.
/// Their steps' targets are open.
std::vector<Search::Option> Search::units(HostId host) const
{
    const Fleet& fleet = scene_.fleet();
    std::vector<std::pair<double, Option>> ranked;
    std::vector<VmId> taken;
    for (const VmId vm : fleet.vms_on(host)) {
        if (std::find(taken.begin(), taken.end(), vm) != taken.end())
            continue;
        Option unit{{vm, host, no_host}};
        for (size_t i = 0; i < unit.size() && unit.size() <= most_steps; ++i)
            for (const WordId label : fleet.vm(unit[i].vm).together)
                for (const VmId other : fleet.vms_labelled(label))
                    if (fleet.host_of(other) == host && !shares_vm(unit, {{other, host, no_host}}))
                        unit.push_back({other, host, no_host});
        Amount load;
        Amount later;
        bool may = unit.size() <= most_steps; // else no plan has room for all of them
        for (const Step& step : unit) {
            taken.push_back(step.vm);
            load += scene_.load_of(step.vm);
            later += scene_.snapshot().vms[step.vm].later;
            may = may && scene_.vm_refusal(step.vm, Purpose::Relief) == Reason::None;
        }
        const HostState& state = scene_.host(host);
        const double help =
            state.heat - (may ? scene_.heat(host, state.after - load, state.later - later) : 0);
        const double memory = std::max(load[Resource::Memory], 1.0);
        const double weight = scene_.rules().move_fee * double(unit.size()) +
                              memory / std::max(fleet.host(host).link, 1.0);
        if (may && help > 0)
            ranked.emplace_back(help / weight, std::move(unit));
    }
    std::stable_sort(ranked.begin(), ranked.end(),
                     [](const auto& a, const auto& b) { return a.first > b.first; });
    std::vector<Option> units;
    for (size_t i = 0; i < std::min(ranked.size(), effort_.units); ++i)
        units.push_back(std::move(ranked[i].second));
    return units;
}

std::vector<HostId> Search::targets(const Option& unit, size_t count) const
{
    std::vector<VmId> along;
    for (const Step& step : unit)
        along.push_back(step.vm);
    std::vector<HostId> found;
    size_t asked = 0;
    for (const HostId id : pool_) {
        if (found.size() >= count || asked > scanned)
            break;
        const HostState& state = scene_.host(id);
        if (state.in >= scene_.fleet().host(id).max_in ||
            state.in + state.out >= scene_.rules().max_per_link)
            continue;
        ++asked;
        if (std::all_of(along.begin(), along.end(), [&](VmId vm) {
                return scene_.pair_refusal(vm, id, Purpose::Relief, along) == Reason::None;
            }))
            found.push_back(id);
    }
    return found;
}

std::vector<Search::Option> Search::single_options(const std::vector<Option>& units) const
{
    std::vector<Option> options;
    for (const Option& unit : units)
        for (const HostId target : targets(unit, effort_.targets)) {
            options.push_back(unit);
            for (Step& step : options.back())
                step.to = target;
        }
    return options;
}

/// Swaps, and room made at a target by moving one of its VMs elsewhere.
void Search::add_exchanges(HostId host, const std::vector<Option>& units,
                           std::vector<Option>& options) const
{
    std::vector<Way> found;
    for (size_t i = 0; i < std::min(units.size(), effort_.exchange_units); ++i) {
        std::vector<HostId> where = targets(units[i], effort_.exchange_targets);
        if (scene_.host_count() <= tiny_hosts)
            for (const HostId hot : hot_hosts())
                if (hot != host && units[i].size() == 1 &&
                    scene_.pair_refusal(units[i][0].vm, hot, Purpose::Relief) == Reason::None)
                    where.push_back(hot);
        for (const HostId target : where) {
            Option there = units[i];
            for (Step& step : there)
                step.to = target;
            add_exchanges_at(there, target, found);
        }
    }
    std::stable_sort(found.begin(), found.end(),
                     [](const Way& a, const Way& b) { return a.score < b.score; });
    for (size_t i = 0; i < std::min(found.size(), effort_.exchanges); ++i)
        options.push_back(std::move(found[i].steps));
}

void Search::add_exchanges_at(const Option& there, HostId target, std::vector<Way>& found) const
{
    const auto consider = [&](VmId vm, HostId to) {
        if (scene_.pair_refusal(vm, to, Purpose::Relief) != Reason::None)
            return;
        Option steps = there;
        steps.push_back({vm, target, to});
        const Outcome outcome = scene_.evaluate(steps);
        if (outcome.possible() && outcome.score() < -better)
            found.push_back({std::move(steps), outcome.score()});
    };
    for (const VmId vm : scene_.fleet().vms_on(target)) {
        if (scene_.vm_refusal(vm, Purpose::Relief) != Reason::None)
            continue;
        consider(vm, there[0].from);
        for (const HostId other : targets({{vm, target, no_host}}, effort_.exchange_targets))
            if (other != target)
                consider(vm, other);
    }
}

/// Combines options, each combination better the more heat it takes for its disturbance.
Search::Way Search::beam(const std::vector<Option>& options, Way start) const
{
    Way best = start;
    std::vector<Way> front{std::move(start)};
    for (size_t depth = 0; depth < effort_.depth && !front.empty(); ++depth) {
        std::vector<Way> next;
        for (const Way& way : front)
            for (const Option& option : options) {
                if (way.steps.size() + option.size() > moves_left_ || shares_vm(way.steps, option))
                    continue;
                Option steps = way.steps;
                steps.insert(steps.end(), option.begin(), option.end());
                const Outcome outcome = scene_.evaluate(steps);
                if (!outcome.possible())
                    continue;
                std::sort(steps.begin(), steps.end(), precedes);
                next.push_back({std::move(steps), outcome.score()});
            }
        std::stable_sort(next.begin(), next.end(),
                         [](const Way& a, const Way& b) { return a.score < b.score; });
        const auto same = [](const Way& a, const Way& b) { return a.steps == b.steps; };
        next.erase(std::unique(next.begin(), next.end(), same), next.end());
        if (next.size() > effort_.width)
            next.resize(effort_.width);
        if (!next.empty() && next[0].score < best.score - better)
            best = next[0];
        front = std::move(next);
    }
    return best;
}

std::optional<Step> Search::place(VmId vm, Purpose purpose) const
{
    std::optional<Step> best;
    double least = 0;
    size_t fitting = 0;
    for (const HostId id : pool_) {
        if (scene_.pair_refusal(vm, id, purpose) != Reason::None)
            continue;
        const Step step{vm, scene_.fleet().host_of(vm), id};
        const Outcome outcome = scene_.evaluate({&step, 1});
        if (!outcome.possible())
            continue;
        if (!best || outcome.score() < least - better) {
            best = step;
            least = outcome.score();
        }
        if (++fitting >= effort_.targets * 4)
            break;
    }
    return best;
}

/// The largest first: they are the hardest to place.
std::vector<Relief> Search::evacuate()
{
    std::vector<Relief> reliefs;
    const Fleet& fleet = scene_.fleet();
    for (HostId id = 0; id < scene_.host_count(); ++id) {
        if (!fleet.has_host(id) || !fleet.host(id).evacuating)
            continue;
        std::vector<VmId> vms(fleet.vms_on(id).begin(), fleet.vms_on(id).end());
        std::sort(vms.begin(), vms.end(), [&](VmId a, VmId b) {
            const double left = scene_.load_of(a)[Resource::Memory];
            const double right = scene_.load_of(b)[Resource::Memory];
            return left != right ? left > right : a < b;
        });
        Relief relief{id, {}, 0};
        for (const VmId vm : vms) {
            if (moves_left_ == 0 || scene_.host(id).out >= fleet.host(id).max_out)
                break;
            if (scene_.vm_refusal(vm, Purpose::Evacuation) != Reason::None)
                continue;
            if (const auto step = place(vm, Purpose::Evacuation)) {
                commit({*step});
                relief.steps.push_back(*step);
            }
        }
        if (!relief.steps.empty())
            reliefs.push_back(std::move(relief));
    }
    return reliefs;
}

} // namespace drover::balancer
