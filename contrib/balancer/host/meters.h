// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/host/host_service.h"
#include "contrib/balancer/host/measure/load_monitor.h"
#include "contrib/balancer/host/slice.h"

namespace drover::balancer {

/// Measures the host and its VMs, each second. Loop thread only.
class Meters {
public:
    /// All must outlive this.
    Meters(const DroverdConfig& config, const SliceGroup& slice, HostVms& vms);

    /// This is a Xen host. Before start().
    void use_xen(const XenWatcher& xen);
    void xen_told(const XenFacts& facts) { loads_.use_xen().take(facts); }
    void xen_lost() { loads_.use_xen().forget(); }

    void start();

    [[nodiscard]] const LoadMonitor& loads() const { return loads_; }

private:
    void sample();
    void follow_vms();
    void ask(Vm& vm);
    [[nodiscard]] VmConfig config_of(const Vm& vm);

    HostVms& vms_;
    const XenWatcher* xen_ = nullptr;
    LoadMonitor loads_;
    loop::Source timer_;
    uint64_t samples_ = 0;
};

} // namespace drover::balancer
