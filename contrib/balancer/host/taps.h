// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/host/vm_definition.h"

namespace drover::balancer {

/// Makes the tap of each NIC that names a bridge, and joins it. All or none. Needs CAP_NET_ADMIN
/// and iproute2's `ip`; blocks for some milliseconds.
[[nodiscard]] Status make_taps(const VmDefinition& definition);

/// Removes what make_taps() made; what is gone already is no error.
void remove_taps(const VmDefinition& definition);

} // namespace drover::balancer
