// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/load/load.h"

namespace drover::balancer::measure {

/// Something that carries bytes in one direction, in the second before.
struct Flow {
    double rate = 0;     ///< bytes/s that get through
    double offered = 0;  ///< bytes/s before some were dropped, where that is known
    double backlog = 0;  ///< bytes that wait before it
    double drops = 0;    ///< packets/s
    double capacity = 0; ///< bytes/s; 0: unknown
};

/// Whether a guest gets less than it was promised *because* it is given less, rather than because
/// it has nothing to send or to receive. Low rates alone say nothing: there must be a sign that
/// packets wait or are lost, or that the link is full, and a sign that the guest is active.
/// `own`: its tap or socket, where a sign is about this guest. `link`: what it shares with others,
/// where a sign may be about them.
[[nodiscard]] bool demand_unmet(double expected, const Flow& own, const Flow& link);

/// As demand_unmet(), in both directions, for a guest of which only rates are known, on a link
/// that they all share (a slice's): sets `wants_more`, and never takes it back.
void add_demand(VmLoad& vm, const NicLoad& link);

} // namespace drover::balancer::measure
