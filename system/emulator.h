// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "monitor/monitor_listener.h"
#include "monitor/qmp_client.h"
#include "monitor/qmp_server.h"
#include "system/migrate_control.h"
#include "system/monitor_commands.h"
#include "vmm/qemu/launch_plan.h"
#include "vmm/qemu/process.h"
#include "vmm/qemu/qemu_machine.h"

#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace drover {

/// One guest: a QEMU whose companion we are, its monitors, and its migration controller, put
/// together. Main thread, which is the loop thread.
class Emulator {
public:
    struct Callbacks {
        std::function<void()> up;          ///< once: QEMU is there, the monitors are served
        std::function<void()> gone;        ///< once: QEMU has ended
        std::function<void(int code)> end; ///< once: everything is over; exit with this code
    };

    /// `inherited`: the descriptors that our parent left open for us, other than the standard ones.
    Emulator(qemu::LaunchPlan plan, MigrationWish wish, std::set<int> inherited,
             Callbacks callbacks);
    ~Emulator();
    Emulator(const Emulator&) = delete;
    Emulator& operator=(const Emulator&) = delete;

    /// Does all that can fail, in the process that was started; makes QEMU of that; and returns in
    /// the companion. See become_qemu().
    [[nodiscard]] Status start();

    /// A mistake of our own was found: the guest stays, its migration does not.
    void defect_found(const Error& defect);

    /// A signal for QEMU: it shuts down as it would on its own.
    void pass_signal(int signal);

private:
    struct Links; ///< sockets between QEMU and us while it is being started

    [[nodiscard]] Status create_ram();
    [[nodiscard]] Status open_monitors();
    [[nodiscard]] Result<Links> make_links();
    [[nodiscard]] Result<qemu::QemuStart> plan_start(const Links& links);
    void connect_monitors(Links& links);
    void engine_monitor_ready(Result<Json> greeting);
    void user_monitor_ready(Result<Json> greeting);
    void build(Json greeting);
    [[nodiscard]] MigrateControl::Callbacks control_callbacks();
    [[nodiscard]] MonitorCommands::Callbacks command_callbacks();
    void warn_if_untracked();
    void learn_settings(std::function<void()> then);
    void await_guest();
    void serve();
    void serve_monitors();
    void run_guest(std::function<void()> then);

    void handle_user_event(const Json& event);
    void failed_to_start(const Error& error);
    void process_exited(std::optional<qemu::ExitStatus> status, const std::string& last_words);
    [[nodiscard]] bool ended_well(const std::optional<qemu::ExitStatus>& status) const;
    void monitor_ended();
    void leave();
    void let_go_of_qemus();
    void quit_when_served();
    void served();
    void incoming_failed(const Error& error);
    void end(int code);

    qemu::LaunchPlan plan_;
    MigrationWish wish_;
    std::set<int> inherited_; ///< from our parent, but for the monitors'
    NamedDescriptors descriptors_;
    Callbacks callbacks_;
    std::vector<RamBlock> ram_;
    std::vector<OpenMonitor> monitors_; ///< until they are served
    UniqueFd tracker_socket_;

    std::unique_ptr<qemu::QemuProcess> process_;
    std::unique_ptr<QmpClient> engine_qmp_; ///< Drover's own commands
    std::unique_ptr<QmpClient> user_qmp_;   ///< the users' commands, passed on
    std::unique_ptr<qemu::QemuMachine> machine_;
    std::unique_ptr<MigrateControl> control_;
    std::unique_ptr<MemoryPlug> memory_;
    std::unique_ptr<MonitorCommands> commands_;
    std::unique_ptr<QmpServer> server_;
    bool starting_guest_ = false;
    bool shuts_down_ = false;      ///< QEMU has said that it will end
    bool quit_held_ = false;       ///< a user's quit waits until the destination has all pages
    std::optional<int> exit_code_; ///< decided; QEMU is being ended
    bool stays_ = false;           ///< after QEMU, to answer a source that may still call
    bool monitor_ended_ = false;   ///< QEMU's, for the users' commands
    bool telling_ = false;         ///< a peer is being told that QEMU has ended
    loop::Source leave_timer_;     ///< from QEMU's end until its last answers are passed on
    loop::Source end_timer_;
};

} // namespace drover
