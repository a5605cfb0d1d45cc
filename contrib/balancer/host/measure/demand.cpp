// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/host/measure/demand.h"

#include <algorithm>

namespace drover::balancer::measure {

namespace {

/// A promise that is kept but for this much is kept: headers, and edges of the second.
constexpr double kept = 0.98;

/// Part of the promise from which on a guest is active: with a sign on its own tap (against what is
/// broadcast to a guest that sleeps), and with one on a shared link (against those who fill it).
constexpr double active_alone = 0.01;
constexpr double active_among_others = 0.05;

constexpr double full = 0.95;

/// A queue stands, rather than passes, if it holds more than goes out in this time. The figure is
/// CoDel's target (RFC 8289), which is about the same question.
constexpr double standing_s = 0.005;

bool is_congested(const Flow& flow)
{
    return flow.drops > 0 || flow.backlog > flow.rate * standing_s ||
           (flow.capacity > 0 && flow.rate >= full * flow.capacity);
}

} // namespace

bool demand_unmet(double expected, const Flow& own, const Flow& link)
{
    if (expected <= 0 || own.rate >= kept * expected)
        return false;
    const double activity = std::max(own.rate, own.offered);
    if (activity >= active_alone * expected && is_congested(own))
        return true;
    return activity >= active_among_others * expected && is_congested(link);
}

void add_demand(VmLoad& vm, const NicLoad& link)
{
    for (VmNicLoad& nic : vm.nics) {
        const Flow rx = {.rate = link.rx, .capacity = link.capacity};
        const Flow tx = {.rate = link.tx, .capacity = link.capacity};
        nic.wants_more = nic.wants_more || demand_unmet(nic.expected, {.rate = nic.rx}, rx) ||
                         demand_unmet(nic.expected, {.rate = nic.tx}, tx);
    }
}

} // namespace drover::balancer::measure
