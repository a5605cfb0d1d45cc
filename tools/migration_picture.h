// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "monitor/json.h"
#include "util/result.h"

#include <string>

namespace drover::tools {

/// Draws what query-migrate says of a migration at its source as an SVG picture: each round's time,
/// what it sent and left, the link, the slow-down, and the decisions with their reasons. The input
/// may come from anywhere; what is no such report is refused.
[[nodiscard]] Result<std::string> draw_migration(const Json& info);

} // namespace drover::tools
