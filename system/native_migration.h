// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "monitor/qmp_client.h"
#include "monitor/qmp_server.h"
#include "system/migrate_settings.h"

#include <functional>

namespace drover {

/// QEMU's own migration, for what Drover's stream cannot be sent over: exec:, file:, and fd: of a
/// pipe or file. So a guest is saved to a file and restored from it ("virsh save", "dump",
/// "restore", snapshots with memory, tunnels). QEMU does it unchanged: it gets the user's settings
/// and commands, and its states, events and errors are the answer.
///
/// One of the two migrations is in charge of the guest at any time, never both: MigrateControl asks
/// in_charge() before each command, and ends it (forget()) before one of Drover's own begins.
/// Loop thread only.
class NativeMigration {
public:
    struct Callbacks {
        /// An incoming guest is here, or did not come.
        std::function<void(bool here)> incoming_ended;
    };

    /// `qemu` is the monitor of the users' commands: getfd's names are known on that one only.
    NativeMigration(QmpClient& qemu, const MigrateSettings& settings, Callbacks callbacks)
        : qemu_(qemu), settings_(settings), callbacks_(std::move(callbacks))
    {
    }
    ~NativeMigration() { *alive_ = false; }
    NativeMigration(const NativeMigration&) = delete;
    NativeMigration& operator=(const NativeMigration&) = delete;

    /// QMP's migrate and migrate-incoming, with the user's arguments. `run`: the guest is to run
    /// when it is here, if it ran when it was saved.
    void migrate(const Json& arguments, QmpResponder respond);
    void migrate_incoming(const Json& arguments, bool run, QmpResponder respond);

    /// Commands about the migration, and "cont" and "stop" before an incoming guest is here, are
    /// QEMU's to answer.
    [[nodiscard]] bool in_charge() const { return phase_ != Phase::Idle; }
    [[nodiscard]] bool is_sending() const { return phase_ == Phase::Sending; }
    [[nodiscard]] bool awaits_guest() const { return phase_ == Phase::Receiving; }
    /// One of Drover's own begins.
    void forget() { phase_ = Phase::Idle; }

    /// Each MIGRATION event of QEMU's while in charge.
    void status_changed(const std::string& status);

private:
    enum class Phase {
        Idle,      ///< Drover's migration is in charge
        Sending,   ///< QEMU saves the guest
        Receiving, ///< QEMU restores it
        Over,      ///< the latest migration was QEMU's
    };

    void start(Phase phase, std::vector<Json> commands, QmpResponder respond);
    void refused(Phase before);
    void end();

    QmpClient& qemu_;
    const MigrateSettings& settings_;
    Callbacks callbacks_;
    Phase phase_ = Phase::Idle;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

} // namespace drover
