// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/simulate/planner.h"
#include "contrib/balancer/simulate/scenario.h"

#include <functional>

namespace drover::balancer {

struct Metrics {
    std::string planner;
    size_t hosts = 0;
    size_t vms = 0;
    double round_ms = 0; ///< median
    double worst_round_ms = 0;
    /// Of hosts and guests, by what is true, not by what was found: what lasts three samples of
    /// five. The sum of the four that follow.
    double hotspot_minutes = 0;
    double cpu_minutes = 0; ///< the parts of it
    double bandwidth_minutes = 0;
    double swap_minutes = 0;
    double vm_minutes = 0;
    double overload_minutes = 0;       ///< of hosts, with every spike
    size_t migrations = 0;             ///< begun
    size_t refused = 0;                ///< orders that broke a rule or a limit
    size_t ping_pong = 0;              ///< a VM back on a host that it left within 30 minutes
    std::optional<double> optimal_pct; ///< where plans could be held against an exact search
    std::optional<double> worst_gap_pct;
    double memory_mb = 0; ///< the process's peak so far
};

struct EngineOptions {
    size_t rounds = 360;
    double step = 10;            ///< s
    double start = 1699920000.0; ///< s since 1970
    std::function<void(size_t round)> progress;
};

/// Steps a fleet through its loads under a planner. Overloaded hosts share what they have, memory
/// beyond the host's is swapped, migrations take time, both links and some processor time.
[[nodiscard]] Metrics simulate(Scenario& scenario, Planner& planner, const EngineOptions& options);

} // namespace drover::balancer
