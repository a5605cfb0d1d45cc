// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/host/measure/counter.h"
#include "contrib/balancer/host/measure/xen_facts.h"
#include "contrib/balancer/load/load.h"

#include <map>

namespace drover::balancer {

/// Puts what Xen knows into the place of what Dom0's own files tell, which is of Dom0 alone: it is
/// one guest of several. Loop thread only.
class XenMeter {
public:
    /// The latest facts; rates are by the time between two of them.
    void take(XenFacts facts);

    /// Nothing was told yet, or by a `drover-xen watch` that has ended: null.
    [[nodiscard]] const XenFacts* facts() const { return known_ ? &facts_ : nullptr; }
    void forget() { known_ = false; }

    /// `load` was measured in Dom0, of the VM's processes there. `now`: as XenFacts::time.
    void amend(VmLoad& load, double now) const;
    void amend(HostLoad& load, double now) const;

private:
    struct Domain {
        measure::Counter cpu_ns;
        double cpu = 0; ///< cores
    };

    void take_idle_times(double elapsed);

    XenFacts facts_;
    bool known_ = false;
    std::map<std::pair<uint32_t, std::string>, Domain> domains_; ///< by number and UUID
    std::vector<measure::Counter> idle_ns_;
    std::vector<double> busy_; ///< part of the time, of each processor
    double cpu_busy_ = 0;      ///< cores
};

} // namespace drover::balancer
