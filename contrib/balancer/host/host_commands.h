// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/doors/command_table.h"
#include "contrib/balancer/host/meters.h"

namespace drover::balancer {

/// What droverd's commands work on.
struct HostParts {
    const DroverdConfig& config;
    const SliceGroup& slice;
    HostService& service;
    const Meters& meters;
    std::vector<std::string> offers; ///< all words that VMs may need
};

/// droverd's commands (docs/balancer-qmp.md). The parts must outlive the table.
void add_host_commands(CommandTable& table, const HostParts& parts);

/// The words that this host offers: "kvm", "tcg", the emulators that it has, "cpu:FEATURE", and the
/// configuration's.
[[nodiscard]] std::vector<std::string> find_offers(const DroverdConfig& config);

} // namespace drover::balancer
