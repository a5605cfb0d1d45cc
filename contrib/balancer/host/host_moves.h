// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/host/host_vms.h"
#include "contrib/balancer/host/migrate_reading.h"
#include "contrib/balancer/host/migration_tls.h"

#include <map>

namespace drover::balancer {

/// This host's side of migrations, its VMs' own emulators doing the work. Each has a state file,
/// STATE/migrations/ID.json, written before it is acted on, and kept for a day after its end. Loop
/// thread only.
class HostMoves {
public:
    /// Both must outlive this; `event` gets VM_MIGRATION.
    HostMoves(const DroverdConfig& config, HostVms& vms, std::function<void(const Json&)> event);
    ~HostMoves();
    HostMoves(const HostMoves&) = delete;
    HostMoves& operator=(const HostMoves&) = delete;

    /// After HostVms::restore().
    void restore();

    void prepare(const Json& arguments, const Answer& answer);
    void migrate(const Json& arguments, const Answer& answer);
    void cancel(const Json& arguments, const Answer& answer);
    void abandon(const Json& arguments, const Answer& answer);
    void query(const Json& arguments, const Answer& answer);
    void confirm(const Json& arguments, const Answer& answer);
    void query_all(const Json& arguments, const Answer& answer);
    void forecast(const Json& arguments, const Answer& answer);

    [[nodiscard]] bool knows(const std::string& id) { return find(id) != nullptr; }

    /// From HostVms.
    void migration_news(Vm& vm);
    void vm_ended(Vm& vm);
    void vm_served_again(Vm& vm, bool runs);

private:
    struct Move;

    Move* find(const std::string& id);
    Move* open_move_of(const Vm& vm);
    Status save(Move& move);
    void set_status(Move& move, MoveStatus status, const std::string& error = {});
    void finish(Move& move, MoveStatus status, const std::string& error);
    Move* new_move(const Json& arguments, const std::string& vm, bool incoming);
    Result<Vm*> vm_for_migration(const Json& arguments, const std::string& id);
    void begin(Move& move, Vm& vm, const std::string& uri, const Json& arguments);
    void tell(const Move& move, Vm& vm, const std::vector<EmulatorCommand>& commands);
    [[nodiscard]] Json where_to_come(const Move& move) const;
    void send_migrate(const std::string& id, const std::string& uri);
    void runs_nothing(Move& move);
    void note_whether_it_runs(Move& move);
    void first_door(Move& move, Vm& vm);
    void open_door(const std::string& id, unsigned port);
    void confirm_if_it_came(const std::string& id, const Json& info, bool run,
                            const Answer& answer);
    void door_opened(Move& move, const std::string& uri);
    void ask(const std::string& id);
    void take_info(Move& move, const Json& info);
    void abandon_if_empty(const std::string& id, const Json& info, bool at_source,
                          const Answer& answer);
    void watch(Move& move);
    void limit(Move& move);
    void limit_reached(const std::string& id);
    void forget_old();

    const DroverdConfig& config_;
    HostVms& vms_;
    MigrationTls tls_;
    std::function<void(const Json&)> event_;
    std::map<std::string, std::unique_ptr<Move>> moves_;
};

} // namespace drover::balancer
