// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/host/droverd_config.h"
#include "monitor/json.h"
#include "vmm/qemu/cpu_description.h"

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace drover::balancer {

/// What CPUs this host can give guests, as its QEMU tells, or drover-xen on a Xen host. That is
/// started once for each accelerator: neither it nor the host's CPU changes while we run. Loop
/// thread only.
class HostCpus {
public:
    using Answer = std::function<void(Result<Json>)>;

    /// `config` must outlive it.
    explicit HostCpus(const DroverdConfig& config) : config_(config) {}

    /// QMP's query-host-cpus: `accelerator`?, by default Xen on its hosts, KVM where that is
    /// usable.
    void query(const Json& arguments, const Answer& answer);

private:
    struct Asked {
        bool begun = false;
        std::unique_ptr<qemu::CpuInquiry> inquiry; ///< of QEMU
        std::vector<Answer> waiting;
        Json told;
    };
    void begin(const std::string& accelerator, Asked& asked);
    void ask_xen();
    void ended(const std::string& accelerator, const Result<Json>& told);

    const DroverdConfig& config_;
    std::map<std::string, Asked> asked_; ///< by accelerator
    std::shared_ptr<HostCpus*> alive_ = std::make_shared<HostCpus*>(this);
};

} // namespace drover::balancer
