// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/policy/wish.h"
#include "vmm/qemu/monitor_endpoint.h"
#include "vmm/xen/guest/guest_config.h"

#include <span>
#include <string>
#include <vector>

namespace drover {

/// The command line of drover-xen.
struct XenOptions {
    std::string verb;
    std::string subject; ///< the domain, its configuration, or the address
    std::vector<MonitorEndpoint> monitors;
    MigrationWish wish;
    std::string config;
    xen::LocalParts local;
    bool paused = false;
};

[[nodiscard]] Result<XenOptions> parse_xen_options(std::span<const std::string> words);

extern const char* const xen_usage;

} // namespace drover
