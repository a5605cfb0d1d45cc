// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "monitor/qmp_client.h"
#include "monitor/qmp_schema.h"
#include "monitor/qmp_server.h"
#include "system/memory_plug.h"
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
        /// A user's "cont" or "stop" goes to QEMU now (true), or was answered (false).
        std::function<void(bool under_way)> run_state_changes;
        /// Asks the running QEMU why this guest cannot be migrated.
        std::function<void(std::function<void(Result<std::vector<std::string>>)>)> blockers;
        /// An image is being opened with these options.
        std::function<void(const std::string& options)> opening_by_text; ///< HMP's
        /// A QMP command that opens an image; may change how it is read.
        std::function<void(Json& arguments)> opening;
        /// An image is being opened with another's flags.
        std::function<void()> copying_flags;
        /// A user wants QEMU to quit, but the guest at its destination needs our memory: later.
        std::function<void()> quit_when_served;
    };

    /// `qemu` is the monitor for the users' commands. All must outlive this. `memory` may be null:
    /// where no memory can be plugged.
    MonitorCommands(QmpClient& qemu, MigrateControl& control, MemoryPlug* memory,
                    Callbacks callbacks);

    void handle(QmpRequest request, QmpResponder respond) override;

    /// Drover's own commands that QEMU does not have.
    [[nodiscard]] static const std::vector<OwnCommand>& own_commands();

private:
    using Handler = std::function<void(QmpRequest&, QmpResponder&)>;

    void add_migration_commands();
    void add_native_commands();
    void add_settings_commands();
    void add_run_state_commands();
    void add_introspection_commands();
    void forward(QmpRequest& request, QmpResponder respond);
    void add_memory_commands();
    void ask_blockers(const QmpResponder& respond,
                      std::function<void(const std::vector<std::string>&)> then);
    void learn_disks(QmpRequest& request) const;
    void query_migrate(QmpResponder& respond);
    void pass_on(QmpRequest& request, QmpResponder respond);
    void migrate(QmpRequest& request, QmpResponder& respond);
    void getfd(QmpRequest& request, QmpResponder& respond);
    void human_monitor_command(QmpRequest& request, QmpResponder& respond);
    void human_object_command(QmpRequest& request, QmpResponder& respond);
    void change_run_state(QmpRequest& request, QmpResponder& respond, bool paused);
    void forward_run_state(QmpRequest& request, QmpResponder respond);
    void quit(QmpRequest& request, QmpResponder& respond);
    void take_back(QmpRequest& request, QmpResponder respond);

    QmpClient& qemu_;
    MigrateControl& control_;
    [[nodiscard]] bool memory_is_busy() const { return memory_ && memory_->is_busy(); }

    MemoryPlug* memory_;
    Callbacks callbacks_;
    std::map<std::string, Handler> handlers_;
};

} // namespace drover
