// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "monitor/qmp_client.h"
#include "monitor/qmp_schema.h"
#include "monitor/qmp_server.h"
#include "system/migrate_control.h"

#include <functional>
#include <map>
#include <string>
#include <vector>

namespace drover {

/// The commands on the user's monitors: what is about migration is Drover's, all else is passed on
/// to QEMU. See docs/qmp.md. Loop thread only.
class MonitorCommands : public QmpHandler {
public:
    struct Callbacks {
        /// "cont" or "stop" before an incoming guest is here: what it is to do when it comes.
        std::function<void(bool paused)> start_paused;
        /// Why this guest cannot be migrated at all, if so.
        std::function<std::optional<std::string>()> blocker;
        /// A device or back-end is being added: may make a blocker.
        std::function<void(const Json& arguments)> adding;
    };

    /// `qemu` is the monitor for the users' commands. All must outlive this.
    MonitorCommands(QmpClient& qemu, MigrateControl& control, Callbacks callbacks);

    void handle(QmpRequest request, QmpResponder respond) override;

    /// Drover's own commands that QEMU does not have.
    [[nodiscard]] static const std::vector<OwnCommand>& own_commands();

private:
    using Handler = std::function<void(QmpRequest&, QmpResponder&)>;

    void add_migration_commands();
    void add_run_state_commands();
    void add_introspection_commands();
    void forward(QmpRequest& request, QmpResponder respond);
    void getfd(QmpRequest& request, QmpResponder& respond);
    void human_monitor_command(QmpRequest& request, QmpResponder& respond);
    void change_run_state(QmpRequest& request, QmpResponder& respond, bool paused);
    void take_back(QmpRequest& request, QmpResponder respond);

    QmpClient& qemu_;
    MigrateControl& control_;
    Callbacks callbacks_;
    std::map<std::string, Handler> handlers_;
};

} // namespace drover
