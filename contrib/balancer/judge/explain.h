// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/judge/plan.h"
#include "monitor/json.h"

namespace drover::balancer {

/// As people read them: one line each, without a newline at its end; a plan is several lines.
[[nodiscard]] std::string in_words(const Fleet& fleet, const Hotspot& hotspot);
[[nodiscard]] std::string in_words(const Fleet& fleet, const Move& move);
[[nodiscard]] std::string in_words(const Fleet& fleet, const Rejection& rejection);
[[nodiscard]] std::string in_words(const Fleet& fleet, const Plan& plan);

/// As programs read them (docs/balancer.md names the members). Hosts and VMs are names; numbers are
/// in the units of the structures.
[[nodiscard]] Json to_json(const Fleet& fleet, const Hotspot& hotspot);
[[nodiscard]] Json to_json(const Fleet& fleet, const Move& move);
[[nodiscard]] Json to_json(const Fleet& fleet, const Rejection& rejection);
[[nodiscard]] Json to_json(const Fleet& fleet, const Verdict& verdict);
[[nodiscard]] Json to_json(const Fleet& fleet, const Plan& plan);
[[nodiscard]] Json to_json(const MoveCost& cost);

} // namespace drover::balancer
