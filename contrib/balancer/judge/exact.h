// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/judge/scene.h"

namespace drover::balancer {

struct ExactLimits {
    double known = 0;         ///< score of some plan; what is not better is not looked at
    size_t nodes = 5'000'000; ///< then it is given up; about a microsecond or three each
    size_t steps = 8;         ///< of a plan; at most 8
};

struct ExactResult {
    std::vector<Step> steps; ///< empty if there is nothing better than what is known
    double score = 0;        ///< of the best plan that was seen
    bool complete = true;    ///< false: given up after too many nodes, nothing is proven
};

/// The best plan by branch and bound: any VM of any host may move to any other, but for VMs that
/// belong together, which stay. The same snapshot and limits give the same result.
[[nodiscard]] ExactResult solve_exactly(const Scene& scene, const ExactLimits& limits);

/// What a plan's moves score together.
[[nodiscard]] Outcome judge_moves(const Snapshot& snapshot, const std::vector<Move>& moves);

} // namespace drover::balancer
