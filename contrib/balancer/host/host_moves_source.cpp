// SPDX-License-Identifier: GPL-2.0-or-later
//
// Migrations from this host.
#include "contrib/balancer/host/host_moves_state.h"
#include "contrib/balancer/host/move_commands.h"
#include "migration/transport/address.h"

namespace drover::balancer {

Result<Vm*> HostMoves::vm_for_migration(const Json& arguments, const std::string& id)
{
    const auto name = text_argument(arguments, "name");
    if (!name)
        return std::unexpected(name.error());
    Vm* vm = vms_.find(*name);
    if (vm == nullptr)
        return fail(ErrorKind::Invalid, "there is no VM " + *name + " on this host");
    if (!vm->record().migration.empty() && vm->record().migration != id)
        return fail(ErrorKind::Refused,
                    *name + " is in the migration " + vm->record().migration + " already");
    for (const char* dead :
         {"internal-error", "guest-panicked", "shutdown", "crash", "postmigrate"})
        if (vm->run_state() == dead)
            return fail(ErrorKind::Refused,
                        *name + " cannot be moved: its guest does not run any more (" + dead + ")",
                        "reset or end it");
    if (vm->is_settling())
        return fail(ErrorKind::Refused, *name + " has just come to this host",
                    "try again in half a minute");
    if (!vm->link().is_up() || !vm->knows_state())
        return fail(ErrorKind::Refused, "the monitor of " + *name + " does not answer",
                    "try again when it does");
    return vm;
}

void HostMoves::migrate(const Json& arguments, const Answer& answer)
{
    const auto id = text_argument(arguments, "migration");
    const auto uri = text_argument(arguments, "uri");
    if (!id || !uri)
        return answer(std::unexpected(id ? uri.error() : id.error()));
    if (!is_migration_id(*id))
        return answer(fail(ErrorKind::Invalid, "Parameter 'migration' must be like a VM's name"));
    if (!has_good_owner(arguments))
        return answer(fail(ErrorKind::Invalid, "Parameter 'owner' must be like a VM's name"));
    // QEMU would take "exec:…", too.
    const auto address = MigrationAddress::parse(*uri);
    if (!address || address->kind != MigrationAddress::Kind::Tcp)
        return answer(fail(ErrorKind::Invalid, "Parameter 'uri' must be like tcp:HOST:PORT",
                           "vm-prepare of the target's droverd gives it"));
    if (find(*id) != nullptr)
        return answer(Json::object()); // it was asked before: query-vm-migration says the rest
    const auto vm = vm_for_migration(arguments, *id);
    if (!vm)
        return answer(std::unexpected(vm.error()));
    const std::string policy = json_string(arguments, "policy", (*vm)->record().definition.policy);
    const auto commands = commands_before_migrate((*vm)->record().definition.kind, policy);
    if (!commands)
        return answer(std::unexpected(commands.error()));
    Move* move = new_move(arguments, (*vm)->name(), false);
    move->record.uri = *uri;
    note_whether_it_runs(*move);
    Status kept = save(*move);
    if (kept)
        kept = vms_.set_migration(**vm, *id, false);
    if (!kept) {
        moves_.erase(*id);
        return answer(std::unexpected(kept.error()));
    }
    answer(Json::object());
    begin(*move, **vm, *uri, arguments);
}

/// What has to be done before; a refusal ends the migration.
void HostMoves::tell(const Move& move, Vm& vm, const std::vector<EmulatorCommand>& commands)
{
    for (const EmulatorCommand& command : commands)
        vm.link().execute(command.name, command.arguments,
                          [id = move.record.id, this, name = command.name,
                           may_fail = command.may_fail](const Result<Json>& reply) {
                              Move* failed = reply || may_fail ? nullptr : find(id);
                              if (failed != nullptr && !is_over(failed->record.status))
                                  finish(*failed, MoveStatus::Failed,
                                         name + ": " + reply.error().text());
                          });
}

void HostMoves::begin(Move& move, Vm& vm, const std::string& uri, const Json& arguments)
{
    move.begun = false;
    const VmDefinition& definition = vm.record().definition;
    if (const auto commands = commands_before_migrate(
            definition.kind, json_string(arguments, "policy", definition.policy)))
        tell(move, vm, *commands);
    if (const auto address = MigrationAddress::parse(uri))
        tell(move, vm, tls_.at_source(json_string(arguments, "tls-hostname", address->host)));
    // Commands of one monitor are answered in order: a refusal has been heard by then.
    vm.link().execute(
        "query-status", Json::object(),
        [this, id = move.record.id, uri](const Result<Json>&) { send_migrate(id, uri); });
}

void HostMoves::send_migrate(const std::string& id, const std::string& uri)
{
    Move* move = find(id);
    Vm* vm = move != nullptr ? vms_.find(move->record.vm) : nullptr;
    if (vm == nullptr || is_over(move->record.status))
        return;
    vm->link().execute("migrate", {{"uri", uri}}, [this, id](const Result<Json>& reply) {
        Move* started = find(id);
        if (started == nullptr || is_over(started->record.status))
            return;
        if (!reply && reply.error().kind == ErrorKind::Machine)
            return finish(*started, MoveStatus::Failed, reply.error().text());
        started->begun = true; // or the link broke: then its state tells
        started->rate.update(0, drover::Clock::now());
        watch(*started);
    });
}

void HostMoves::cancel(const Json& arguments, const Answer& answer)
{
    const auto id = text_argument(arguments, "migration");
    Move* move = id ? find(*id) : nullptr;
    if (move == nullptr)
        return answer(std::unexpected(id ? not_found(*id) : id.error()));
    Vm* vm = vms_.find(move->record.vm);
    if (is_over(move->record.status) || vm == nullptr)
        return answer(Json::object());
    if (move->record.incoming)
        return answer(fail(ErrorKind::Refused, "a migration is cancelled at its source",
                           "vm-abandon ends an emulator whose source has given up"));
    vm->link().execute("migrate_cancel", Json::object(), in_time(answer));
}

} // namespace drover::balancer
