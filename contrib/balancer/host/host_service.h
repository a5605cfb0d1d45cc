// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/host/host_cpus.h"
#include "contrib/balancer/host/host_moves.h"

namespace drover::balancer {

/// A host's VMs and their migrations, tied together. Loop thread only.
class HostService {
public:
    /// `config` must outlive it. `event` gets VM_CHANGED and VM_MIGRATION.
    HostService(const DroverdConfig& config, std::vector<std::string> cgroups,
                std::function<void(const Json&)> event);

    /// Finds again what a droverd before us left.
    [[nodiscard]] Status restore();

    [[nodiscard]] HostVms& vms() { return vms_; }
    [[nodiscard]] HostMoves& moves() { return moves_; }
    [[nodiscard]] HostCpus& cpus() { return cpus_; }

private:
    HostVms vms_;
    HostMoves moves_;
    HostCpus cpus_;
};

} // namespace drover::balancer
