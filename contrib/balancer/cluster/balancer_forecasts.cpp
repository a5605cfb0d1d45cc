// SPDX-License-Identifier: GPL-2.0-or-later
//
// What guests are asked before they are moved: with the link and the policy that the move will
// have.
#include "contrib/balancer/cluster/balancer.h"

#include "contrib/balancer/cluster/uplinks.h"
#include "migration/policy/wish.h"

#include <algorithm>

namespace drover::balancer::cluster {

namespace {

/// Where nobody says how fast a link is: a gigabit, as the judge takes it to be.
constexpr double usual_link = 125e6;

/// What migrations have between a host and others, in bytes/s.
double link_of(const FleetHost& host)
{
    const double link = migration_link(host.load);
    return link > 0 ? link : usual_link;
}

/// What a migration may use at this host; 0: all.
double bound_of(const FleetHost* host)
{
    return host != nullptr ? host->config.limits.bandwidth : 0;
}

double tighter(double a, double b)
{
    return a <= 0 || b <= 0 ? std::max(a, b) : std::min(a, b);
}

} // namespace

/// The policy with the fleet's bound on what a migration may use, unless its own is tighter.
std::string Balancer::bounded_policy(const ChosenMove& move) const
{
    const double bound = tighter(bound_of(fleet_.host(move.from)), bound_of(fleet_.host(move.to)));
    const auto wish = parse_policy(move.policy);
    if (bound < 1 || !wish ||
        (wish->bandwidth > 0 && static_cast<double>(wish->bandwidth) <= bound))
        return move.policy;
    return move.policy + (move.policy.empty() ? "" : ",") +
           "bandwidth=" + std::to_string(static_cast<uint64_t>(bound));
}

/// Until the guest is gone its host goes on swapping, or a person waits to switch it off.
bool Balancer::is_urgent(const ChosenMove& move) const
{
    return evacuating_.contains(move.from) ||
           std::any_of(hotspots_.begin(), hotspots_.end(), [&move](const ShownHotspot& spot) {
               return spot.host == move.from && json_string(spot.shown, "kind") == "host-swap";
           });
}

Forecasts::Question Balancer::question_about(const ChosenMove& move) const
{
    double bandwidth = 0;
    for (const std::string& name : {move.from, move.to})
        if (const FleetHost* host = fleet_.host(name))
            bandwidth = tighter(bandwidth, tighter(link_of(*host), bound_of(host)));
    return {.vm = move.vm,
            .host = move.from,
            .bandwidth = bandwidth,
            .policy = bounded_policy(move),
            .urgent = is_urgent(move)};
}

/// Stock QEMU has no forecast, and is not asked for one.
bool Balancer::is_foretold(const ChosenMove& move)
{
    const Fleet::Place place = fleet_.locate(move.vm);
    return (place.vm != nullptr && place.vm->kind == "qemu") ||
           forecasts_.known(fleet_.door(move.from), question_about(move));
}

/// A person who decides on a plan wants to know as much as we would.
void Balancer::keep_foretold()
{
    for (const PlannedMove& planned : plan_.moves) {
        const Fleet::Place place = fleet_.locate(planned.move.vm);
        if (place.vm != nullptr && place.vm->kind != "qemu")
            forecasts_.keep_known(fleet_.door(planned.move.from), question_about(planned.move));
    }
}

} // namespace drover::balancer::cluster
