// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/judge/scene.h"

namespace drover::balancer {

struct ExactResult {
    std::vector<Step> steps;
    double score = 0;     ///< of the best plan there is
    bool complete = true; ///< false: given up after too many nodes, nothing is proven
};

/// The best plan by branch and bound, with the planner's rules and arithmetic but none of its
/// search: any VM of any host may move. `known` is the score of some plan, to begin with; what is
/// not better than it is not looked at.
[[nodiscard]] ExactResult solve_exactly(const Snapshot& snapshot, double known = 0,
                                        size_t most_nodes = 5'000'000);

/// What a plan's moves score together.
[[nodiscard]] Outcome judge_moves(const Snapshot& snapshot, const std::vector<Move>& moves);

} // namespace drover::balancer
