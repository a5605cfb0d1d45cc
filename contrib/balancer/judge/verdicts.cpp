// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/judge/plan_writer.h"
#include "contrib/balancer/judge/text.h"

#include <algorithm>

namespace drover::balancer {

namespace {

constexpr double passing = 0.02; ///< of the horizon: a host with less heat gets well by itself

} // namespace

bool PlanWriter::is_over(const Hotspot& spot) const
{
    const HostSpec& spec = scene_.fleet().host(spot.host);
    const double capacity = spec.capacity[spot.resource];
    const bool away =
        spot.vm != no_vm && std::any_of(plan_.moves.begin(), plan_.moves.end(),
                                        [&](const Move& move) { return move.vm == spot.vm; });
    return away || (capacity > 0 && scene_.host(spot.host).after[spot.resource] <=
                                        spec.threshold[spot.resource] * capacity);
}

bool PlanWriter::is_in_flight(const Hotspot& spot) const
{
    return std::any_of(snapshot_.in_flight.begin(), snapshot_.in_flight.end(),
                       [&](const InFlight& move) {
                           return std::find(move.resolves.begin(), move.resolves.end(), spot.id) !=
                                      move.resolves.end() ||
                                  move.from == spot.host;
                       });
}

void PlanWriter::add_verdict(const Hotspot& spot)
{
    Verdict verdict{spot.id, false, {}, {}};
    if (spot.host >= scene_.host_count() || !scene_.fleet().has_host(spot.host)) {
        verdict.why = "nothing done: its host is gone";
        plan_.verdicts.push_back(std::move(verdict));
        return;
    }
    verdict.resolved = is_over(spot);
    if (const auto moves = moves_of_.find(spot.host); moves != moves_of_.end())
        for (const size_t i : moves->second)
            verdict.moves.push_back(plan_.moves[i].id);
    add_rejections(spot);
    if (!verdict.moves.empty())
        verdict.why = done_by_moves(spot, verdict);
    else if (!is_in_flight(spot))
        verdict.why = nothing_done(spot);
    else
        verdict.why = verdict.resolved
                          ? "migrations in flight resolve it"
                          : "waits for the migrations in flight; " + nothing_done(spot);
    verdict.resolved = verdict.resolved && (!verdict.moves.empty() || is_in_flight(spot));
    plan_.verdicts.push_back(std::move(verdict));
}

std::string PlanWriter::nothing_done(const Hotspot& spot) const
{
    const HostSpec& spec = scene_.fleet().host(spot.host);
    const double capacity = spec.capacity[spot.resource];
    if (capacity <= 0)
        return "nothing done: the capacity of " + spec.name + " is not known";
    const double after = scene_.host(spot.host).after[spot.resource];
    if (scene_.host(spot.host).heat <= passing * snapshot_.rules.horizon) {
        const std::string at = percent(after / capacity) + " expected, the threshold is " +
                               percent(spec.threshold[spot.resource]);
        return spot.kind == HotspotKind::VmBandwidth
                   ? "nothing done: the link of " + spec.name + " has room (" + at +
                         "), something else holds the guest back"
                   : "nothing done: it passes by itself (" + at + ")";
    }
    for (const Rejection& rejection : plan_.rejected)
        if (rejection.hotspot == spot.id)
            return "nothing done; the likeliest VM: " + rejection.why;
    return "nothing done: no VM there would help by going";
}

std::string PlanWriter::done_by_moves(const Hotspot& spot, const Verdict& verdict) const
{
    const HostSpec& spec = scene_.fleet().host(spot.host);
    const double capacity = spec.capacity[spot.resource];
    const size_t count = verdict.moves.size();
    std::string text = std::string(verdict.resolved ? "resolved" : "eased, not resolved") + " by " +
                       std::to_string(count) + (count == 1 ? " move" : " moves");
    if (capacity > 0)
        text += ": " + std::string(words_of(spot.resource)) + " of " + spec.name + " goes to " +
                percent(scene_.host(spot.host).after[spot.resource] / capacity);
    return text;
}

/// The VMs that use most of what is short, and why they stay.
void PlanWriter::add_rejections(const Hotspot& spot)
{
    const auto on = scene_.fleet().vms_on(spot.host);
    std::vector<VmId> vms(on.begin(), on.end());
    std::erase_if(vms, [&](VmId vm) {
        return std::any_of(plan_.moves.begin(), plan_.moves.end(),
                           [&](const Move& move) { return move.vm == vm; });
    });
    const auto kept =
        static_cast<ptrdiff_t>(std::min<size_t>(vms.size(), snapshot_.rules.kept_rejections));
    std::partial_sort(vms.begin(), vms.begin() + kept, vms.end(), [&](VmId a, VmId b) {
        const double left = scene_.load_of(a)[spot.resource];
        const double right = scene_.load_of(b)[spot.resource];
        return left != right ? left > right : a < b;
    });
    for (ptrdiff_t i = 0; i < kept; ++i)
        plan_.rejected.push_back(reject(spot, vms[static_cast<size_t>(i)]));
}

Rejection PlanWriter::reject(const Hotspot& spot, VmId vm) const
{
    Rejection rejection{spot.id, vm, no_host, scene_.vm_refusal(vm, Purpose::Relief), {}};
    if (rejection.reason == Reason::None && scene_.load_of(vm)[spot.resource] <= 0)
        rejection.reason = Reason::NoGain;
    if (rejection.reason == Reason::None)
        look_around(spot, rejection);
    if (rejection.why.empty())
        rejection.why = refusal_text(scene_, rejection.reason, vm, rejection.to);
    return rejection;
}

/// Where it would have gone, and what spoke against it there. Reckoned with the plan's moves made.
void PlanWriter::look_around(const Hotspot& spot, Rejection& rejection) const
{
    if (around_.empty()) {
        const NobodyTakes nobody = nobody_takes(scene_, rejection.vm);
        rejection.reason = nobody.reason;
        rejection.why = nobody.why;
    }
    Outcome best;
    for (const HostId id : around_) {
        const Step step{rejection.vm, spot.host, id};
        const Reason refusal = scene_.pair_refusal(step.vm, id, Purpose::Relief);
        const Outcome outcome =
            refusal == Reason::None ? scene_.evaluate({&step, 1}) : Outcome{.refusal = refusal};
        const bool first = rejection.to == no_host;
        if (!first && (!outcome.possible() || (best.possible() && best.score() <= outcome.score())))
            continue;
        best = outcome;
        rejection.to = id;
        rejection.reason = !outcome.possible()   ? outcome.refusal
                           : outcome.score() < 0 ? Reason::BetterThere
                           : outcome.heat < 0    ? Reason::CostsMore
                                                 : Reason::NoGain;
        rejection.why = refusal_text(scene_, rejection.reason, step.vm, id);
        if (outcome.possible())
            rejection.why += ": to " + scene_.fleet().host(id).name +
                             " it would now avoid what counts as " +
                             seconds_text(std::max(0.0, -outcome.heat)) +
                             " of overload and disturb like " + seconds_text(outcome.disturbance);
    }
}

} // namespace drover::balancer
