// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <string>

namespace drover::balancer::cluster {

/// Runs drover-balancer with this configuration until SIGTERM or SIGINT; its exit code. SIGHUP
/// reads the configuration again.
[[nodiscard]] int run_balancer(const std::string& config_file);

} // namespace drover::balancer::cluster
