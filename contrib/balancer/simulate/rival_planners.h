// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/simulate/planner.h"

namespace drover::balancer {

[[nodiscard]] std::unique_ptr<Planner> make_sandpiper();
[[nodiscard]] std::unique_ptr<Planner> make_threshold_first_fit();
[[nodiscard]] std::unique_ptr<Planner> make_watcher_stddev();
[[nodiscard]] std::unique_ptr<Planner> make_proxmox_imbalance();
[[nodiscard]] std::unique_ptr<Planner> make_drover_planner(const Fleet& fleet);

} // namespace drover::balancer
