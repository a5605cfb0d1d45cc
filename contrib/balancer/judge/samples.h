// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/judge/amount.h"

#include <string>

namespace drover::balancer {

/// What was measured of a host. A sample with a number that is not finite or is negative, or that
/// is no newer than the one before, is ignored as a whole.
struct HostSample {
    double time = 0; ///< seconds since 1970, of the balancer's clock
    Amount used;     ///< with everything that runs there
    /// The part of `used` that our own migrations cause: it passes, so it makes no hotspot.
    Amount migrating;
    double steal = 0;   ///< cores wanted by the host's guests and taken by somebody below or beside
    double swap_in = 0; ///< bytes/s
    double swap_out = 0;        ///< bytes/s
    double swapped = 0;         ///< bytes in swap that are not in `used`
    double memory_pressure = 0; ///< part of the time in which some tasks waited for memory
};

/// What was measured of a guest, on the host where it runs.
struct VmSample {
    double time = 0;
    /// Memory: what it would occupy where there is room (resident and swapped out).
    Amount used;
    double cpu_wait = 0;     ///< cores wanted and not given
    bool wants_more = false; ///< on a NIC: it would use more than `used` if it got more
    double expected_rx = 0;  ///< bytes/s promised, seen from the host; 0: as in its VmSpec
    double expected_tx = 0;
    double dirty_rate = 0; ///< bytes/s; 0: not known
};

/// What a guest's controller says a migration of it would be.
struct MigrationForecast {
    double seconds = 0;
    double bytes = 0;
    double downtime = 0; ///< seconds
    double slowdown = 0; ///< of the guest meanwhile, 0 to 1
    bool possible = true;
    bool keeps_wish = true; ///< downtime and deadline of its policy
    std::string why;        ///< if not possible, or if it does not keep the wish
};

} // namespace drover::balancer
