// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/session/guest_watch.h"
#include "migration/session/incoming_door.h"
#include "migration/session/link_probe.h"
#include "migration/session/source.h"
#include "monitor/qmp_server.h"
#include "system/command_table.h"
#include "system/migrate_settings.h"
#include "vmm/qemu/qemu_machine.h"

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace drover {

/// The migration controller behind the QMP commands: owns the sessions of one guest. Loop thread
/// only.
class MigrateControl {
public:
    struct Callbacks {
        std::function<void(const Json&)> event; ///< to all QMP clients
        /// An incoming migration that had been accepted failed: the guest will never run here.
        std::function<void(const Error&)> incoming_failed;
        /// The destination has all that it lacked: nobody needs us any more.
        std::function<void()> served;
        /// The guest was given back to its source, having never run here: QEMU is to be ended.
        std::function<void()> given_back;
    };

    /// `inherited`: the descriptors that our parent left open for us (fd:NUMBER).
    MigrateControl(qemu::QemuMachine& machine, MigrationWish wish, std::set<int> inherited,
                   Callbacks callbacks);
    ~MigrateControl();
    MigrateControl(const MigrateControl&) = delete;
    MigrateControl& operator=(const MigrateControl&) = delete;

    [[nodiscard]] MigrateSettings& settings() { return settings_; }

    /// The command line's -incoming: "defer" waits for migrate-incoming.
    [[nodiscard]] Status open_incoming(const std::string& uri);
    [[nodiscard]] Status allow_incoming(const std::string& uri);

    /// Whether a migration from here may begin, as far as we know without asking QEMU.
    [[nodiscard]] Status may_migrate() const;

    // One for each QMP command.
    /// `blockers`: why the guest cannot be migrated, just asked for.
    [[nodiscard]] Status migrate(const Json& arguments, const std::vector<std::string>& blockers);
    [[nodiscard]] Status cancel();
    [[nodiscard]] Status proceed(const Json& arguments);
    [[nodiscard]] Status start_postcopy();
    [[nodiscard]] Status set_parameters(const Json& arguments);
    [[nodiscard]] Status set_policy(const Json& arguments);
    /// query-migrate-forecast: answers after a second and a half of watching the guest.
    void forecast(const Json& arguments, const std::vector<std::string>& blockers,
                  QmpResponder respond);
    [[nodiscard]] Status resolve(const Json& arguments);
    [[nodiscard]] Json query() const;

    /// A descriptor named by QMP's getfd, for fd: addresses.
    void name_descriptor(const std::string& name, UniqueFd fd);
    void forget_descriptor(const std::string& name);

    /// Whether "cont" and "stop" are to be refused now, and why.
    [[nodiscard]] Status may_change_run_state() const;
    /// The guest was left paused at its destination, so that "cont" here means to take it back.
    [[nodiscard]] bool guest_is_away() const;
    /// Asks the destination for it; then the finished migration is forgotten. `done`: whether the
    /// guest is ours again.
    void take_back(std::function<void(Status)> done);
    /// A guest that arrived here paused is about to be run, or moved on: its source is told.
    /// Refused where the source has taken it back.
    [[nodiscard]] Status claim();
    /// An incoming guest has not come yet: "cont" and "stop" say what it is to do then.
    [[nodiscard]] bool awaits_guest() const;
    /// A destination that failed, but whose source may still call to learn so.
    [[nodiscard]] bool owes_an_answer() const;

    /// Guest RAM comes or goes: a forecast that looks at it ends.
    void ram_changes();
    /// What a migration, from here or to here, allows users to do to QEMU; see command_table.h.
    [[nodiscard]] GuestPhase phase() const;
    /// A migration from here is under way.
    [[nodiscard]] bool is_migrating() const;
    /// An incoming guest is ours, and is being started.
    [[nodiscard]] bool is_taking_over() const;

    /// The guest runs at its destination, and lacks RAM that only we have: our end would be its.
    [[nodiscard]] bool serves_pages() const;

    /// QEMU has died. True if a peer is being told, which takes a moment.
    [[nodiscard]] bool process_died(const Error& how);

private:
    void source_changed(SourceState state);
    void destination_changed(DestinationState state);
    void send_status(const std::string& status);
    void settings_changed();
    void decided(const Decision& decision);
    [[nodiscard]] Result<double> forecast_bandwidth(const Json& arguments) const;
    void probe_link(const Json& arguments, std::function<void(Result<LinkReport>)> done);
    void watch_guest(const LinkReport& link);
    void watched(Result<MigrationStats> stats, const LinkReport& link);
    void end_forecast(const QmpResponse& response);
    [[nodiscard]] Result<UniqueFd> take_descriptor(const std::string& name);
    [[nodiscard]] uint64_t ram_bytes() const;

    qemu::QemuMachine& machine_;
    MigrateSettings settings_;
    Callbacks callbacks_;
    ConvergePolicy policy_;
    std::unique_ptr<SourceSession> source_;
    /// Of earlier migrations, whose destinations must learn that the guest stayed here.
    std::vector<std::unique_ptr<CommitAsker>> tellers_;
    std::unique_ptr<LinkProbe> probe_;  ///< while a forecast is made
    std::unique_ptr<GuestWatch> watch_; ///< after that
    QmpResponder forecast_respond_;     ///< who waits for it
    unsigned forecast_number_ = 0;      ///< so that what was asked for an earlier one is known
    std::unique_ptr<IncomingDoor> door_;
    bool incoming_deferred_ = false;
    std::map<std::string, UniqueFd> descriptors_; ///< by name
    std::set<int> inherited_;                     ///< from our parent, not used yet
    std::string last_status_;
};

} // namespace drover
