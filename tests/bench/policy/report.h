// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration.h"

#include <map>
#include <string>
#include <vector>

namespace drover::sim {

/// What one rule did with all guests.
struct RuleResults {
    std::string rule;
    std::vector<Outcome> outcomes; ///< one a case, in the cases' order
};

struct Results {
    std::vector<std::string> kinds; ///< each case's kind of guest
    std::vector<bool> oracle;       ///< whether the oracle keeps the wishes
    std::vector<RuleResults> rules;
};

/// Which part of the wishes that the oracle keeps ours keeps, too.
[[nodiscard]] double part_kept(const Results& results);
void print_table(const Results& results);
void print_json(const Results& results);
/// An SVG picture: wishes kept by each rule for each kind of guest, and the distributions.
[[nodiscard]] std::string draw(const Results& results);

} // namespace drover::sim
