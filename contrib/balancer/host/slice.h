// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/host/droverd_config.h"

#include <string>
#include <vector>

namespace drover::balancer {

/// A slice of the machine as this host could make it real.
struct SliceGroup {
    std::string cgroup;                ///< its name, as in /proc/PID/cgroup; empty: there is none
    std::vector<std::string> procs;    ///< the cgroup.procs files that put a process into it
    std::vector<std::string> enforced; ///< of "cores", "memory": what the kernel sees to
    std::vector<std::string> gaps;     ///< why the rest is only measured, in words
};

/// Makes the control group "drover-NAME" (versions 1 and 2 of control groups) with the slice's
/// bounds, or takes the one that is there. What cannot be had is a gap and no error: then the
/// slice is a measure and no bound. `root` is "/" but for tests. The link is bounded by whoever
/// made the network device (tc's tbf).
[[nodiscard]] SliceGroup make_slice_group(const DroverdConfig& config,
                                          const std::string& root = "/");

} // namespace drover::balancer
