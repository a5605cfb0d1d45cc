// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/host/measure/history.h"
#include "contrib/balancer/host/measure/host_monitor.h"
#include "contrib/balancer/host/measure/vm_monitor.h"
#include "contrib/balancer/host/measure/xen_meter.h"

#include <map>
#include <memory>

namespace drover::balancer {

/// Everything that is measured on a host: the host, its VMs, and the last hour of both. Loop thread
/// only; sample() is to be called each second (loop::every).
class LoadMonitor {
public:
    explicit LoadMonitor(HostMonitorConfig config);

    /// A VM of this name that was there is replaced.
    VmMonitor& add(VmConfig config);
    void remove(const std::string& name);
    /// Null if there is none.
    [[nodiscard]] VmMonitor* find(const std::string& name);

    /// On a Xen host: what it tells from now on is of the host and of Xen's guests (XenMeter). To
    /// be called before the first sample.
    XenMeter& use_xen() { return xen_ ? *xen_ : xen_.emplace(); }

    /// Takes a sample of everything. The first one of a host or a VM has no rates yet.
    void sample(const Moment& now);

    [[nodiscard]] const HostLoad& host() const { return host_load_; }
    [[nodiscard]] const std::vector<VmLoad>& vms() const { return vm_loads_; } ///< by name
    /// As History::last().
    [[nodiscard]] std::vector<HostLoad> host_history(double seconds) const;
    [[nodiscard]] std::vector<VmLoad> vm_history(const std::string& name, double seconds) const;

private:
    struct Vm {
        std::unique_ptr<VmMonitor> monitor;
        History<VmLoad> history;
        unsigned look_in = 0; // samples until it looks for processes and sockets again
        unsigned young = 0;   // samples for which it still does so each time
    };

    void read_network(const Moment& now);
    void look_around();

    HostMonitor host_;
    std::optional<XenMeter> xen_;
    Surroundings around_;
    measure::NetReader net_;
    std::string net_error_;
    std::map<std::string, Vm> vms_;
    unsigned look_in_ = 0; // samples until all processes and sockets are listed again
    unsigned place_ = 0;   // of the next VM in the order in which they look
    HostLoad host_load_;
    std::vector<VmLoad> vm_loads_;
    History<HostLoad> host_history_;
};

} // namespace drover::balancer
