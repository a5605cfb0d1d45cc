// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "monitor/monitor_listener.h"
#include "system/migrate_control.h"
#include "system/monitor_commands.h"
#include "vmm/xen/live/xen_source.h"
#include "vmm/xen/live/xl_tool.h"

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace drover {

/// Monitors and migration controller of a guest that Xen runs: QEMU's commands, as far as they are
/// about migration and the run state; all others are for the device model. Loop thread only.
class XenServer : public QmpHandler {
public:
    struct Callbacks {
        std::function<void(int code)> end; ///< once: exit with this code
    };

    XenServer(xen::XlDomain facts, MigrationWish wish, Callbacks callbacks);
    ~XenServer() override;

    [[nodiscard]] Status start(const std::vector<MonitorEndpoint>& monitors);
    /// Gives up a migration that is under way, and ends; the guest stays.
    void terminate();
    void defect_found(const Error& defect);

    void handle(QmpRequest request, QmpResponder respond) override;

private:
    void model_ready(Result<Json> greeting);
    void build(Json greeting);
    void learn_settings(std::function<void()> then);
    void serve();
    void model_gone(const Error& how);
    [[nodiscard]] MonitorCommands::Callbacks command_callbacks();
    void stop(const QmpResponder& respond);
    void run(const QmpResponder& respond);
    void run_here(const QmpResponder& respond);
    void quit(const QmpResponder& respond);
    void source_ended();
    void end(int code);

    xen::XlDomain facts_;
    MigrationWish wish_;
    Callbacks callbacks_;
    std::shared_ptr<xen::XenDomain> domain_;
    xen::DomainRam ram_;
    std::vector<OpenMonitor> monitors_; ///< until they are served
    std::unique_ptr<QmpClient> model_;
    std::unique_ptr<xen::XenSource> machine_;
    std::unique_ptr<MigrateControl> control_;
    std::unique_ptr<MonitorCommands> commands_;
    std::unique_ptr<QmpServer> server_;
    bool terminates_ = false; ///< when no migration is under way any more
    loop::Source end_timer_;
};

} // namespace drover
