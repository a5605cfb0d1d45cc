// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/session/guest_watch.h"
#include "migration/session/incoming_door.h"
#include "migration/session/judgement.h"
#include "migration/session/link_probe.h"
#include "migration/session/source.h"
#include "monitor/qmp_server.h"
#include "system/command_table.h"
#include "system/migrate_settings.h"
#include "system/migrate_target.h"
#include "system/named_descriptors.h"
#include "system/native_migration.h"

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace drover {

/// What the two sides of a migration tell each other that they are.
inline constexpr const char* own_software = "drover " DROVER_VERSION;

/// Why a guest cannot be migrated: the first reason in words, and that there are more.
[[nodiscard]] Status check_blockers(const std::vector<std::string>& blockers);

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
        /// A migration from here is over, well or not.
        std::function<void()> source_ended;
        /// The guest was given back to its source, having never run here: QEMU is to be ended.
        std::function<void()> given_back;
    };

    /// `qemu` is the monitor of the users' commands. `descriptors`: those that our parent left open
    /// for us (fd:NUMBER).
    MigrateControl(Machine& machine, QmpClient& qemu, MigrationWish wish,
                   NamedDescriptors descriptors, Callbacks callbacks);
    ~MigrateControl();
    MigrateControl(const MigrateControl&) = delete;
    MigrateControl& operator=(const MigrateControl&) = delete;

    [[nodiscard]] MigrateSettings& settings() { return settings_; }
    [[nodiscard]] NamedDescriptors& descriptors() { return descriptors_; }
    /// QEMU's own migration: where it is in charge, commands about the migration are for QEMU.
    [[nodiscard]] NativeMigration& native() { return native_; }

    /// The command line's -incoming: "defer" waits for migrate-incoming. `done` is called when a
    /// guest can come, with nothing, or with why none can; perhaps at once.
    void allow_incoming(const std::string& text,
                        std::function<void(std::optional<std::string>)> done);

    /// Whether a migration from here may begin, as far as we know without asking QEMU.
    [[nodiscard]] Status may_migrate() const;

    // One for each QMP command.
    void migrate_incoming(const Json& arguments, const QmpResponder& respond);
    /// Where a migration to go to is, and whose it is.
    [[nodiscard]] Result<MigrateTarget> target(const Json& arguments) const
    {
        return MigrateTarget::parse(arguments, descriptors_);
    }
    /// `blockers`: why the guest cannot be migrated, just asked for. QEMU's own migration knows
    /// itself what it can.
    void migrate(const Json& arguments, const std::vector<std::string>& blockers,
                 const QmpResponder& respond);
    void migrate_natively(const Json& arguments, const QmpResponder& respond);
    [[nodiscard]] Status resume(const Json& arguments);
    [[nodiscard]] Status cancel();
    [[nodiscard]] Status proceed(const Json& arguments);
    [[nodiscard]] Status start_postcopy();
    [[nodiscard]] Status pause_postcopy();
    [[nodiscard]] Status recover_postcopy(const Json& arguments);
    void set_capabilities(const Json& arguments, QmpResponder respond);
    void set_parameters(const Json& arguments, QmpResponder respond);
    [[nodiscard]] Status set_policy(const Json& arguments);
    /// query-migrate-forecast: answers after a second and a half of watching the guest; with
    /// "check" as soon as the destination has said whether it could go there.
    void forecast(const Json& arguments, const std::vector<std::string>& blockers,
                  QmpResponder respond);
    [[nodiscard]] Status resolve(const Json& arguments);
    [[nodiscard]] Json query() const;

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
    /// Whether a failed incoming migration ends the emulator, as it does unless the user said
    /// "exit-on-error": false.
    [[nodiscard]] bool exits_on_error() const { return exits_on_error_; }
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

    /// A mistake of our own was found somewhere: the migration, whichever way, is given up as far
    /// as that can still be done without asking anybody, so that the guest stays where it is.
    void defect_found(const Error& defect);

    /// QEMU has died. True if a peer is being told, which takes a moment.
    [[nodiscard]] bool process_died(const Error& how);

    /// An event of QEMU's own migration; true if it is the user's.
    [[nodiscard]] bool native_event(const Json& event);

private:
    struct ForecastWish {
        MigrationWish wish;
        double bandwidth = 0; ///< bytes/s; 0: as many as the link carries
        std::optional<MigrationPeer> destination;
        bool check = false; ///< only whether the guest can go there
    };

    void forget_source();
    [[nodiscard]] Status check_incoming_arguments(const Json& arguments);
    [[nodiscard]] Status open_door(const MigrationAddress& address, SharedTlsCredentials tls);
    [[nodiscard]] Status begin(const Json& arguments, SharedTlsCredentials tls);
    [[nodiscard]] Status check_migration(const Json& arguments,
                                         const std::vector<std::string>& blockers) const;
    void source_changed(SourceState state);
    void destination_changed(DestinationState state);
    void send_status(const std::string& status);
    void send_pass();
    void send_link(const std::optional<Error>& broken);
    void settings_changed();
    void decided(const Decision& decision);
    [[nodiscard]] Result<double> forecast_bandwidth(const Json& arguments) const;
    [[nodiscard]] Result<ForecastWish> forecast_wish(const Json& arguments) const;
    void read_credentials();
    void probe_link();
    void dial_destination(const MigrationAddress& address);
    void probed(Result<LinkReport> link);
    void watch_guest(const LinkReport& link);
    void watched(Result<MigrationStats> stats, const LinkReport& link);
    void end_forecast(const QmpResponse& response);
    [[nodiscard]] Result<UniqueFd> take_connection(const std::string& name);
    [[nodiscard]] uint64_t ram_bytes() const;
    [[nodiscard]] Json query_incoming() const;
    void carry_bitmaps(bool on);

    Machine& machine_;
    QmpClient& qemu_;
    MigrateSettings settings_;
    NativeMigration native_;
    NamedDescriptors descriptors_;
    Callbacks callbacks_;
    ConvergePolicy policy_;
    std::unique_ptr<SourceSession> source_;
    /// Of earlier migrations, whose destinations must learn that the guest stayed here.
    std::vector<std::unique_ptr<CommitAsker>> tellers_;
    std::unique_ptr<LinkProbe> probe_;  ///< while a forecast is made
    std::unique_ptr<GuestWatch> watch_; ///< after that
    QmpResponder forecast_respond_;     ///< who waits for it
    ForecastWish forecast_;             ///< what it is made for
    Judgement forecast_judgement_;      ///< so far
    unsigned forecast_number_ = 0;      ///< so that what was asked for an earlier one is known
    std::unique_ptr<IncomingDoor> door_;
    bool incoming_deferred_ = false;
    bool exits_on_error_ = true;
    std::string last_status_;
};

} // namespace drover
