// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/judge/plan.h"
#include "contrib/balancer/judge/plan_writer.h"
#include "contrib/balancer/judge/text.h"

#include <algorithm>

namespace drover::balancer {

Plan make_plan(const Snapshot& snapshot)
{
    return PlanWriter(snapshot).write();
}

Plan PlanWriter::write()
{
    constexpr size_t asked = 12; // hosts for each rejection
    plan_.made = snapshot_.now;
    std::vector<double> before;
    for (HostId id = 0; id < scene_.host_count(); ++id) {
        before.push_back(scene_.host(id).heat);
        plan_.heat_before += scene_.host(id).hot ? before.back() : 0;
    }
    Search search(scene_);
    std::vector<Relief> found = search.evacuate();
    const size_t evacuations = found.size();
    for (Relief& relief : search.relieve())
        found.push_back(std::move(relief));
    // Taken back, so that each move can be told from what it finds.
    for (const Relief& relief : found)
        for (const Step& step : relief.steps)
            scene_.undo(step);
    for (size_t i = 0; i < found.size(); ++i)
        add_moves(found[i], i < evacuations);
    around_ = search.pool();
    around_.resize(std::min(around_.size(), asked));
    for (const Hotspot& spot : snapshot_.hotspots)
        add_verdict(spot);
    for (HostId id = 0; id < scene_.host_count(); ++id) {
        const HostState& host = scene_.host(id);
        plan_.heat_after += host.hot ? host.heat : std::max(0.0, host.heat - before[id]);
    }
    return std::move(plan_);
}

/// Hot-seconds that one step avoids; below 0 for one that makes way for another.
double PlanWriter::gain_of(const Step& step)
{
    const auto heat = [&] { return scene_.host(step.from).heat + scene_.host(step.to).heat; };
    const double before = heat();
    scene_.commit(step);
    return before - heat();
}

std::string PlanWriter::policy_of(VmId vm, bool urgent) const
{
    const Rules& rules = snapshot_.rules;
    const std::string& own = scene_.fleet().vm(vm).policy;
    if (!own.empty())
        return own;
    return urgent && !rules.urgent_policy.empty() ? rules.urgent_policy : rules.policy;
}

/// Of the resource in which the source is fullest: that is what the move is about.
std::string PlanWriter::change_text(const Step& step, const HostState& from,
                                    const HostState& to) const
{
    constexpr double visible = 0.01;
    const HostSpec& source = scene_.fleet().host(step.from);
    Resource about = Resource::Memory;
    double fullest = 0;
    for (const Resource r : all_resources) {
        const double threshold = source.threshold[r] * source.capacity[r];
        if (threshold > 0 && from.after[r] / threshold > fullest &&
            scene_.load_of(step.vm)[r] > visible * source.capacity[r]) {
            fullest = from.after[r] / threshold;
            about = r;
        }
    }
    const auto change = [&](HostId id, const HostState& before) {
        const HostSpec& spec = scene_.fleet().host(id);
        if (spec.capacity[about] <= 0)
            return spec.name + " (of unknown capacity)";
        return spec.name + " from " + percent(before.after[about] / spec.capacity[about]) + " to " +
               percent(scene_.host(id).after[about] / spec.capacity[about]);
    };
    return std::string(words_of(about)) + ": " + change(step.from, from) + ", " +
           change(step.to, to);
}

Move PlanWriter::make_move(const Step& step, bool urgent)
{
    Move move{.id = static_cast<uint32_t>(plan_.moves.size()) + 1,
              .vm = step.vm,
              .from = step.from,
              .to = step.to,
              .policy = policy_of(step.vm, urgent)};
    move.cost = scene_.cost(step);
    const HostState from = scene_.host(step.from);
    const HostState to = scene_.host(step.to);
    move.gain = gain_of(step);
    move.why = change_text(step, from, to) + "; " + text_of(Resource::Memory, move.cost.bytes) +
               " in " + seconds_text(move.cost.seconds) + ", paused for " +
               seconds_text(move.cost.downtime) +
               (move.cost.estimated ? " (estimated)" : " (the guest's own forecast)");
    return move;
}

Move PlanWriter::describe(const Step& step)
{
    return make_move(step, false);
}

/// The hot host that a step is made for.
HostId PlanWriter::relieved_by(const Step& step, const Relief& relief) const
{
    return scene_.host(step.from).hot ? step.from : relief.host;
}

void PlanWriter::add_moves(const Relief& relief, bool evacuation)
{
    std::vector<size_t> sequence;
    const auto order = scene_.order(relief.steps, sequence);
    const size_t first = plan_.moves.size();
    const Amount before = scene_.host(relief.host).after;
    const bool swaps =
        std::any_of(snapshot_.hotspots.begin(), snapshot_.hotspots.end(), [&](const Hotspot& spot) {
            return spot.host == relief.host && spot.kind == HotspotKind::HostSwap;
        });
    for (size_t place = 0; place < relief.steps.size(); ++place) {
        const size_t i = order ? sequence[place] : place;
        Move move = make_move(relief.steps[i], swaps || evacuation);
        for (size_t j = 0; order && j < place; ++j)
            if (const auto& waits = (*order)[i];
                std::find(waits.begin(), waits.end(), sequence[j]) != waits.end())
                move.after.push_back(static_cast<uint32_t>(first + j) + 1);
        plan_.disturbance += move.cost.disturbance;
        moves_of_[relieved_by(relief.steps[i], relief)].push_back(plan_.moves.size());
        plan_.moves.push_back(std::move(move));
    }
    if (evacuation) {
        for (size_t i = first; i < plan_.moves.size(); ++i)
            plan_.moves[i].why =
                scene_.fleet().host(relief.host).name + " is to be emptied; " + plan_.moves[i].why;
        return;
    }
    share_out(relief, first, before);
}

/// Who is credited with what. Of an exchange only the whole is of use: its moves share the gain.
void PlanWriter::share_out(const Relief& relief, size_t first, const Amount& before)
{
    const auto begin = plan_.moves.begin() + static_cast<ptrdiff_t>(first);
    const auto end = plan_.moves.end();
    const bool exchange = std::any_of(
        begin, end, [&](const Move& m) { return m.from != relief.host || m.gain <= 0; });
    double total = 0;
    for (auto move = begin; move != end; ++move)
        total += move->gain;
    for (auto move = begin; move != end; ++move) {
        if (exchange)
            move->gain = total / double(end - begin);
        move->why += "; avoids " + seconds_text(move->gain) + " of overload expected within " +
                     seconds_text(snapshot_.rules.horizon) + " and disturbs like " +
                     seconds_text(move->cost.disturbance);
        if (exchange)
            move->why +=
                "; one of " + std::to_string(end - begin) + " moves that only help together";
        for (const Hotspot& spot : snapshot_.hotspots)
            if (spot.host == relieved_by({move->vm, move->from, move->to}, relief) &&
                (spot.host != relief.host ||
                 scene_.host(relief.host).after[spot.resource] < before[spot.resource]))
                move->resolves.push_back(spot.id);
    }
}

} // namespace drover::balancer
