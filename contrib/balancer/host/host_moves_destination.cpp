// SPDX-License-Identifier: GPL-2.0-or-later
//
// Migrations to this host.
#include "contrib/balancer/host/host_moves_state.h"
#include "contrib/balancer/host/move_commands.h"
#include "vmm/qemu/disk_activation.h"

namespace drover::balancer {

namespace {

/// A balancer that has lost its journal, or stands beside the one that is at work, takes what it
/// does not know for left over: only who began a migration may end it, and an operator.
bool may_end(const MigrationRecord& record, const Json& arguments)
{
    return record.owner.empty() || record.owner == json_string(arguments, "owner") ||
           json_bool(arguments, "force");
}

} // namespace

void HostMoves::prepare(const Json& arguments, const Answer& answer)
{
    const auto id = text_argument(arguments, "migration");
    if (!id || !is_migration_id(*id))
        return answer(fail(ErrorKind::Invalid, "Parameter 'migration' must be like a VM's name"));
    if (!has_good_owner(arguments))
        return answer(fail(ErrorKind::Invalid, "Parameter 'owner' must be like a VM's name"));
    if (Move* known = find(*id); known != nullptr) {
        if (is_over(known->record.status)) // an ID is for one attempt
            return answer(fail(ErrorKind::Refused,
                               "the migration " + *id +
                                   " is over: " + std::string(to_string(known->record.status)) +
                                   " " + known->record.error));
        if (!known->record.uri.empty())
            return answer(where_to_come(*known));
        known->waiting.push_back(answer);
        return;
    }
    auto definition = vm_definition_from_json(arguments.value("definition", Json()));
    if (!definition)
        return answer(pass(definition));
    Move* move = new_move(arguments, definition->name, true);
    move->record.held = json_bool(arguments, "confirms") && definition->kind == VmKind::Qemu;
    move->record.source_host = json_string(arguments, "source-host");
    if (const Status saved = save(*move); !saved) {
        moves_.erase(*id);
        return answer(std::unexpected(saved.error()));
    }
    move->waiting.push_back(answer);
    const auto vm = vms_.start_incoming(std::move(*definition), *id, move->record.held);
    if (!vm)
        return finish(*move, MoveStatus::Failed, vm.error().text());
    limit(*move);
}

/// What a source, or the balancer for it, has to know.
Json HostMoves::where_to_come(const Move& move) const
{
    Json where{{"uri", move.record.uri}};
    if (tls_.is_on())
        where["tls-hostname"] = tls_.own_name();
    return where;
}

/// A guest that is held takes its disks with `cont`: until then its source may need them again.
void HostMoves::first_door(Move& move, Vm& vm)
{
    const Json late = {{"capability", "late-block-activate"}, {"state", true}};
    if (move.record.held)
        vm.link().execute("migrate-set-capabilities", {{"capabilities", Json::array({late})}},
                          [this, id = move.record.id](const Result<Json>& set) {
                              Move* refused = set ? nullptr : find(id);
                              if (refused != nullptr && !is_over(refused->record.status))
                                  finish(*refused, MoveStatus::Failed, set.error().text());
                          });
    tell(move, vm, tls_.at_destination());
    // Commands of one monitor are answered in order: a refusal has been heard by then.
    vm.link().execute(
        "query-status", Json::object(),
        [this, id = move.record.id](const Result<Json>&) { open_door(id, config_.first_port); });
}

/// Ports are tried in turn; a door that opens tells its address to who waits.
void HostMoves::open_door(const std::string& id, unsigned port)
{
    Move* move = find(id);
    Vm* vm = move != nullptr ? vms_.find(move->record.vm) : nullptr;
    if (vm == nullptr || is_over(move->record.status))
        return;
    if (port > config_.last_port)
        return finish(*move, MoveStatus::Failed,
                      "no port for a migration is free on this host (first-port, last-port)");
    if (!port_is_free(port))
        return open_door(id, port + 1);
    const std::string where = std::to_string(port);
    vm->link().execute("migrate-incoming", {{"uri", "tcp:0.0.0.0:" + where}},
                       [this, id, port, where](const Result<Json>& opened) {
                           Move* answered = find(id);
                           if (answered == nullptr || is_over(answered->record.status))
                               return;
                           if (opened)
                               return door_opened(*answered,
                                                  "tcp:" + config_.migrate_address + ":" + where);
                           open_door(id, port + 1);
                       });
}

void HostMoves::door_opened(Move& move, const std::string& uri)
{
    move.record.uri = uri;
    // A droverd after us must know that a source may have come.
    if (const Status saved = save(move); !saved)
        return finish(move, MoveStatus::Failed, saved.error().text());
    set_status(move, MoveStatus::Waiting);
    for (const Answer& answer : std::exchange(move.waiting, {}))
        answer(where_to_come(move));
    watch(move);
}

/// The source has said that its guest has gone: the one that is held here runs.
void HostMoves::confirm(const Json& arguments, const Answer& answer)
{
    const auto id = text_argument(arguments, "migration");
    Move* move = id ? find(*id) : nullptr;
    if (move == nullptr)
        return answer(std::unexpected(id ? not_found(*id) : id.error()));
    if (move->record.incoming && move->record.status == MoveStatus::Completed)
        return answer(Json::object());
    Vm* vm = vms_.find(move->record.vm);
    if (!move->record.held || is_over(move->record.status) || vm == nullptr)
        return answer(fail(ErrorKind::Refused, "no guest of the migration " + *id +
                                                   " is held here: it is " +
                                                   std::string(to_string(move->record.status)) +
                                                   " " + move->record.error));
    vm->link().execute("query-migrate", Json::object(),
                       [this, id = *id, run = json_bool(arguments, "run", true),
                        reply = in_time(answer)](const Result<Json>& info) {
                           if (info)
                               confirm_if_it_came(id, *info, run, reply);
                           else
                               reply(info);
                       });
}

void HostMoves::confirm_if_it_came(const std::string& id, const Json& info, bool run,
                                   const Answer& answer)
{
    Move* move = find(id);
    if (move == nullptr)
        return answer(std::unexpected(not_found(id)));
    take_info(*move, info);
    Vm* vm = vms_.find(move->record.vm);
    if (move->record.status != MoveStatus::Asking || vm == nullptr)
        return answer(fail(ErrorKind::Refused, "the guest " + move->record.vm +
                                                   " has not come: the migration is " +
                                                   std::string(to_string(move->record.status))));
    const auto taken = [this, id, answer](const Status& done) {
        Move* held = find(id);
        if (done && held != nullptr && !is_over(held->record.status))
            finish(*held, MoveStatus::Completed, {});
        answer(done ? Result<Json>(Json::object()) : Result<Json>(std::unexpected(done.error())));
    };
    const auto execute = [this, name = move->record.vm](const std::string& command, Json arguments,
                                                        auto answered) {
        if (Vm* there = vms_.find(name); there != nullptr)
            there->link().execute(command, std::move(arguments), std::move(answered));
    };
    if (!run)
        return qemu::activate_disks(execute, taken);
    execute("cont", Json::object(), [taken](const Result<Json>& done) {
        taken(done ? Status() : Status(std::unexpected(done.error())));
    });
}

void HostMoves::abandon(const Json& arguments, const Answer& answer)
{
    const auto id = text_argument(arguments, "migration");
    Move* move = id ? find(*id) : nullptr;
    if (move == nullptr)
        return answer(std::unexpected(id ? not_found(*id) : id.error()));
    if (!move->record.incoming)
        return answer(fail(ErrorKind::Refused, "this host is the source of " + *id));
    if (is_over(move->record.status) && move->record.status != MoveStatus::Completed)
        return answer(Json::object());
    if (!may_end(move->record, arguments))
        return answer(
            fail(ErrorKind::Refused,
                 "the migration " + *id + " is another balancer's, " + move->record.owner,
                 "it comes to its end without help; \"force\", or drover cancel, ends it"));
    Vm* vm = vms_.find(move->record.vm);
    if (vm == nullptr)
        return answer(Json::object());
    if (move->record.uri.empty()) { // no source was told where it is, and its monitor may be silent
        finish(*move, MoveStatus::Failed, "abandoned");
        return answer(Json::object());
    }
    // Its word now, not what we heard last: the guest may just have come.
    const bool at_source = json_bool(arguments, "guest-at-source");
    vm->link().execute(
        "query-migrate", Json::object(),
        [this, id = *id, reply = in_time(answer), at_source](const Result<Json>& info) {
            if (info)
                abandon_if_empty(id, *info, at_source, reply);
            else
                reply(info);
        });
}

void HostMoves::abandon_if_empty(const std::string& id, const Json& info, bool at_source,
                                 const Answer& answer)
{
    Move* move = find(id);
    if (move == nullptr)
        return answer(Json::object());
    take_info(*move, info);
    const MoveStatus status = move->record.status;
    Vm* vm = vms_.find(move->record.vm);
    if (vm == nullptr || (is_over(status) && status != MoveStatus::Completed))
        return answer(Json::object());
    if (status == MoveStatus::Asking && at_source && !move->record.held)
        return vm->link().execute("migrate-resolve", {{"guest-is-here", false}}, answer);
    // A guest that is held, and that somebody has let run by hand, is no left-over any more.
    const bool in_vain = status == MoveStatus::Asking && move->record.held && at_source &&
                         vm->run_state() != "running";
    if (guest_may_be_here(status, true) && !in_vain)
        return answer(fail(ErrorKind::Refused,
                           "the guest " + move->record.vm +
                               " may be on this host: the migration is " +
                               std::string(to_string(status)),
                           "if its source runs it for certain, say guest-at-source"));
    finish(*move, MoveStatus::Failed, "abandoned");
    answer(Json::object());
}

} // namespace drover::balancer
