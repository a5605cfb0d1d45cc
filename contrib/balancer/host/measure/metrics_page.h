// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/load/load.h"

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace drover::balancer {

/// The latest loads in Prometheus's text format, version 0.0.4, in base units. `states`: of the VMs
/// by name, as query-vms says them; a VM that is only there (not measured yet) is shown with its
/// state alone.
[[nodiscard]] std::string metrics_page(const HostLoad& host, const std::vector<VmLoad>& vms,
                                       const std::map<std::string, std::string>& states);

/// As between the quotes of a label's value.
[[nodiscard]] std::string escape_label(std::string_view value);

} // namespace drover::balancer
