// SPDX-License-Identifier: GPL-2.0-or-later
//
// Migrations to this host.
#include "contrib/balancer/host/host_moves_state.h"
#include "contrib/balancer/host/move_commands.h"

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
            return answer(Json{{"uri", known->record.uri}});
        known->waiting.push_back(answer);
        return;
    }
    auto definition = vm_definition_from_json(arguments.value("definition", Json()));
    if (!definition)
        return answer(pass(definition));
    Move* move = new_move(arguments, definition->name, true);
    if (const Status saved = save(*move); !saved) {
        moves_.erase(*id);
        return answer(std::unexpected(saved.error()));
    }
    move->waiting.push_back(answer);
    const auto vm = vms_.start_incoming(std::move(*definition), *id);
    if (!vm)
        return finish(*move, MoveStatus::Failed, vm.error().text());
    limit(*move);
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
        answer(Json{{"uri", uri}});
    watch(move);
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
    if (status == MoveStatus::Asking && at_source)
        return vm->link().execute("migrate-resolve", {{"guest-is-here", false}}, answer);
    if (guest_may_be_here(status, true))
        return answer(fail(ErrorKind::Refused,
                           "the guest " + move->record.vm +
                               " may be on this host: the migration is " +
                               std::string(to_string(status)),
                           "if its source runs it for certain, say guest-at-source"));
    finish(*move, MoveStatus::Failed, "abandoned");
    answer(Json::object());
}

} // namespace drover::balancer
