// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/host/vm_definition.h"

#include <map>

namespace drover::balancer {

/// A VM of this host, whether it runs or not.
struct KeptVm {
    VmDefinition definition;
    /// That it was in last, and whose end is not known here; empty: the guest is nowhere else.
    std::string migration;
};

/// The definitions of a host's VMs, over reboots and power cuts: DIRECTORY/NAME.json each. Adopted
/// VMs are their starters' to keep. Loop thread only.
class KeptVms {
public:
    explicit KeptVms(std::string directory) : directory_(std::move(directory)) {}

    [[nodiscard]] Status load();
    /// Whether the system was booted since this was asked the last time, in whatever process.
    [[nodiscard]] bool is_new_boot();

    [[nodiscard]] Status keep(const KeptVm& vm);
    void forget(const std::string& name);
    [[nodiscard]] const KeptVm* find(const std::string& name) const;
    [[nodiscard]] const std::map<std::string, KeptVm>& all() const { return vms_; }

private:
    [[nodiscard]] std::string file_of(const std::string& name) const;

    std::string directory_;
    std::map<std::string, KeptVm> vms_;
};

/// As query-vms shows one that does not run.
[[nodiscard]] Json to_json(const KeptVm& vm);

} // namespace drover::balancer
