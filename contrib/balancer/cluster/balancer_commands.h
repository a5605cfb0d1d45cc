// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/cluster/balancer.h"
#include "contrib/balancer/doors/command_table.h"

namespace drover::balancer::cluster {

/// The balancer's QMP commands (docs/balancer-qmp.md). `balancer` must outlive the table.
void add_commands(CommandTable& table, Balancer& balancer);

} // namespace drover::balancer::cluster
