// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/doors/door.h"
#include "contrib/balancer/host/host_commands.h"
#include "contrib/balancer/host/measure/metrics_server.h"

#include <memory>
#include <optional>

namespace drover::balancer {

/// The daemon of one host, put together. Loop thread only.
class Droverd {
public:
    explicit Droverd(DroverdConfig config);
    ~Droverd();
    Droverd(const Droverd&) = delete;
    Droverd& operator=(const Droverd&) = delete;

    /// Finds again what a droverd before it left, begins to measure, opens the doors.
    [[nodiscard]] Status start();

private:
    Status take_the_host();
    void watch_xen();
    void xen_told();
    Status open_doors();
    Status serve_metrics();
    [[nodiscard]] std::string page() const; ///< of metrics

    DroverdConfig config_;
    UniqueFd lock_; ///< on the state directory: one droverd at a time
    SliceGroup slice_;
    std::unique_ptr<XenWatcher> xen_; ///< null: this is no Xen host
    std::unique_ptr<HostService> service_;
    std::unique_ptr<Meters> meters_;
    std::unique_ptr<CommandTable> commands_;
    std::unique_ptr<DoorServer> doors_;
    std::unique_ptr<MetricsServer> metrics_;
    loop::Source adopting_;
};

} // namespace drover::balancer
