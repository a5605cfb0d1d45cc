// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/host/host_moves.h"

#include "contrib/balancer/doors/address.h"
#include "contrib/balancer/host/move_commands.h"
#include "contrib/balancer/host/state_file.h"
#include "monitor/qmp_server.h"
#include "util/log.h"

#include <algorithm>
#include <ctime>

namespace drover::balancer {

namespace {

constexpr std::chrono::milliseconds ask_period{500}; // besides the emulator's own events
constexpr std::chrono::seconds answer_limit{15};     // an emulator's, for who waits for it
constexpr double kept_s = 24 * 3600.0;

double wall_clock()
{
    timespec now = {};
    clock_gettime(CLOCK_REALTIME, &now);
    return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

/// Who asks through a host's one connection must not wait for one emulator that is stuck: others
/// wait behind.
Answer in_time(const Answer& answer)
{
    struct Open {
        Answer answer;
        loop::Source limit;
    };
    const auto open = std::make_shared<Open>(answer);
    const auto settle = [open](const Result<Json>& result) {
        open->limit.reset();
        if (const auto waiting = std::exchange(open->answer, nullptr))
            waiting(result);
    };
    open->limit = loop::after(answer_limit, [settle] {
        settle(fail(ErrorKind::Connection, "the emulator did not answer in time"));
    });
    return settle;
}

Error not_found(const std::string& id)
{
    return {ErrorKind::Invalid, "this host never heard of the migration " + id, {}};
}

} // namespace

struct HostMoves::Move {
    MigrationRecord record;
    loop::Source timer;
    bool asking_emulator = false; ///< a query-migrate is on its way
    bool door_opening = false;    ///< at the destination: migrate-incoming is on its way
    bool begun = true;            ///< at the source: `migrate` was sent and not refused
    std::vector<Answer> waiting;  ///< of vm-prepare
    loop::Source limit;           ///< for an emulator or a source that does not come
};

HostMoves::HostMoves(const DroverdConfig& config, HostVms& vms,
                     std::function<void(const Json&)> event)
    : config_(config), vms_(vms), event_(std::move(event))
{
}

HostMoves::~HostMoves() = default;

HostMoves::Move* HostMoves::find(const std::string& id)
{
    const auto found = moves_.find(id);
    return found == moves_.end() ? nullptr : found->second.get();
}

HostMoves::Move* HostMoves::open_move_of(const Vm& vm)
{
    Move* move = find(vm.record().migration);
    return move != nullptr && !is_over(move->record.status) ? move : nullptr;
}

Status HostMoves::save(Move& move)
{
    return save_state(config_.state_directory + "/migrations/" + move.record.id + ".json",
                      migration_state(move.record));
}

HostMoves::Move* HostMoves::new_move(const std::string& id, const std::string& vm, bool incoming)
{
    forget_old();
    auto& move = moves_[id];
    move = std::make_unique<Move>();
    move->record.id = id;
    move->record.vm = vm;
    move->record.incoming = incoming;
    move->record.guest_here = !incoming;
    move->record.changed = wall_clock();
    return move.get();
}

void HostMoves::forget_old()
{
    std::erase_if(moves_, [this](const auto& entry) {
        const MigrationRecord& record = entry.second->record;
        if (!is_over(record.status) || wall_clock() - record.changed < kept_s)
            return false;
        remove_state(config_.state_directory + "/migrations/" + record.id + ".json");
        return true;
    });
}

void HostMoves::restore()
{
    for (const std::string& id : list_states(config_.state_directory + "/migrations")) {
        auto state = load_state(config_.state_directory + "/migrations/" + id + ".json");
        auto record = state ? migration_from_state(*state) : Result<MigrationRecord>(pass(state));
        if (!record) {
            log::warning("left aside: " + std::move(record.error()).in("migration " + id).text());
            continue;
        }
        Move* move = new_move(id, record->vm, record->incoming);
        move->record = std::move(*record);
        Vm* vm = vms_.find(move->record.vm);
        const bool in_it = vm != nullptr && vm->record().migration == id;
        if (is_over(move->record.status)) {
            if (in_it) // we were ended before it was tidied up
                finish(*move, move->record.status, move->record.error);
            continue;
        }
        if (!in_it) {
            finish(*move, MoveStatus::Failed, "its emulator ended while droverd was not running");
            continue;
        }
        vm->set_migration(id, move->record.incoming, false);
        watch(*move); // its emulator says how it stands, once it answers
    }
}

void HostMoves::set_status(Move& move, MoveStatus status, const std::string& error)
{
    if (move.record.status == status)
        return;
    move.record.status = status;
    move.record.error = error;
    move.record.guest_here = guest_may_be_here(status, move.record.incoming);
    move.record.changed = wall_clock();
    if (const Status saved = save(move); !saved)
        log::warning(saved.error().text()); // the emulators have settled it, whatever we write
    log::info("migration " + move.record.id + " of " + move.record.vm + ": " +
              std::string(to_string(status)) + (error.empty() ? "" : ": " + error));
    event_(make_event("VM_MIGRATION", {{"migration", move.record.id},
                                       {"name", move.record.vm},
                                       {"role", move.record.incoming ? "destination" : "source"},
                                       {"status", to_string(status)}}));
}

/// It is over: what is left of it here is tidied up.
void HostMoves::finish(Move& move, MoveStatus status, const std::string& error)
{
    move.timer.reset();
    move.limit.reset();
    set_status(move, status, error);
    for (const Answer& answer : std::exchange(move.waiting, {}))
        answer(fail(ErrorKind::Machine, error.empty() ? "the migration is over" : error));
    Vm* vm = vms_.find(move.record.vm);
    if (vm == nullptr || vm->record().migration != move.record.id)
        return;
    const bool guest_stays = (status == MoveStatus::Completed) == move.record.incoming;
    if (!guest_stays)
        return vms_.retire(*vm, !move.record.incoming);
    if (const Status saved = vms_.set_migration(*vm, "", false); !saved)
        log::warning(saved.error().text());
    vm->refresh();
}

// The source

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
    if (!is_migration_uri(*uri))
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
    Move* move = new_move(*id, (*vm)->name(), false);
    move->record.uri = *uri;
    Status kept = save(*move);
    if (kept)
        kept = vms_.set_migration(**vm, *id, false);
    if (!kept) {
        moves_.erase(*id);
        return answer(std::unexpected(kept.error()));
    }
    answer(Json::object());
    begin(*move, **vm, *uri, policy);
}

void HostMoves::begin(Move& move, Vm& vm, const std::string& uri, const std::string& policy)
{
    move.begun = false;
    const auto commands = commands_before_migrate(vm.record().definition.kind, policy);
    for (const EmulatorCommand& command : *commands)
        vm.link().execute(
            command.name, command.arguments,
            [id = move.record.id, this, name = command.name](const Result<Json>& reply) {
                Move* failed = reply ? nullptr : find(id);
                if (failed != nullptr && !is_over(failed->record.status))
                    finish(*failed, MoveStatus::Failed, name + ": " + reply.error().text());
            });
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

// The destination

void HostMoves::prepare(const Json& arguments, const Answer& answer)
{
    const auto id = text_argument(arguments, "migration");
    if (!id || !is_migration_id(*id))
        return answer(fail(ErrorKind::Invalid, "Parameter 'migration' must be like a VM's name"));
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
    Move* move = new_move(*id, definition->name, true);
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
    Vm* vm = vms_.find(move->record.vm);
    if (vm == nullptr)
        return answer(Json::object());
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

// Both

void HostMoves::query(const Json& arguments, const Answer& answer)
{
    const auto id = text_argument(arguments, "migration");
    if (!id)
        return answer(std::unexpected(id.error()));
    Move* move = find(*id);
    if (move == nullptr)
        return answer(std::unexpected(not_found(*id)));
    answer(to_json(move->record));
}

void HostMoves::forecast(const Json& arguments, const Answer& answer)
{
    const auto name = text_argument(arguments, "name");
    Vm* vm = name ? vms_.find(*name) : nullptr;
    if (vm == nullptr)
        return answer(
            fail(ErrorKind::Invalid, "there is no VM " + name.value_or("without a name")));
    if (vm->record().definition.kind == VmKind::Qemu)
        return answer(fail(ErrorKind::Refused, "stock QEMU makes no forecast of a migration"));
    Json asked = Json::object();
    if (arguments.contains("uri"))
        asked["uri"] = arguments["uri"];
    if (arguments.contains("bandwidth")) // the emulator takes whole bytes
        asked["bandwidth"] =
            static_cast<uint64_t>(std::clamp(arguments["bandwidth"].get<double>(), 1.0, 1e15));
    vm->link().execute("query-migrate-forecast", std::move(asked), in_time(answer));
}

void HostMoves::watch(Move& move)
{
    move.timer = loop::every(ask_period, [this, id = move.record.id] { ask(id); });
    if (move.record.incoming && move.record.status <= MoveStatus::Waiting)
        limit(move);
}

void HostMoves::limit(Move& move)
{
    move.limit = loop::after(std::chrono::seconds(config_.waiting_limit_s),
                             [this, id = move.record.id] { limit_reached(id); });
}

/// Of a destination that nobody came to, for all that is known.
void HostMoves::limit_reached(const std::string& id)
{
    Move* move = find(id);
    Vm* vm = move != nullptr ? vms_.find(move->record.vm) : nullptr;
    if (vm == nullptr || move->record.status > MoveStatus::Waiting)
        return;
    if (move->record.uri.empty()) // nobody was told where it is
        return finish(*move, MoveStatus::Failed, "the emulator did not get ready in time");
    // Its word now: a source may have come while its monitor was silent.
    vm->link().execute("query-migrate", Json::object(), [this, id](const Result<Json>& info) {
        Move* late = find(id);
        if (late == nullptr || late->record.status > MoveStatus::Waiting)
            return;
        if (!info)
            return limit(*late);
        take_info(*late, *info);
        if (late->record.status <= MoveStatus::Waiting)
            finish(*late, MoveStatus::Failed, "no source came in time");
    });
}

void HostMoves::ask(const std::string& id)
{
    Move* move = find(id);
    Vm* vm = move != nullptr ? vms_.find(move->record.vm) : nullptr;
    if (vm == nullptr || !vm->link().is_up() || std::exchange(move->asking_emulator, true))
        return;
    vm->link().execute("query-migrate", Json::object(), [this, id](const Result<Json>& info) {
        Move* asked = find(id);
        if (asked == nullptr)
            return;
        asked->asking_emulator = false;
        if (info && !is_over(asked->record.status))
            take_info(*asked, *info);
    });
}

void HostMoves::take_info(Move& move, const Json& info)
{
    const MigrateReading reading = read_migrate_info(info, move.record.incoming);
    if (!reading.status) {
        // Not begun. Whoever would have begun it is gone if the record is older than we are.
        if (!move.record.incoming && move.begun)
            finish(move, MoveStatus::Failed, "it was not begun: droverd was ended before");
        return;
    }
    if (!move.record.incoming && !move.begun)
        return; // of an earlier migration
    move.record.total = reading.total;
    move.record.remaining = reading.remaining;
    move.record.downtime = reading.downtime;
    move.record.total_time = reading.total_time;
    if (*reading.status != MoveStatus::Waiting)
        move.limit.reset();
    if (is_over(*reading.status))
        finish(move, *reading.status, reading.error);
    else
        set_status(move, *reading.status);
}

void HostMoves::migration_news(Vm& vm)
{
    Move* move = open_move_of(vm);
    if (move == nullptr)
        return;
    // A destination that has just started, or that a droverd before us did not finish preparing.
    if (move->record.incoming && move->record.uri.empty() && vm.waits_for_guest()) {
        if (!std::exchange(move->door_opening, true))
            open_door(move->record.id, config_.first_port);
        return;
    }
    ask(move->record.id);
}

void HostMoves::vm_ended(Vm& vm)
{
    Move* move = open_move_of(vm);
    if (move == nullptr)
        return;
    const std::string words = last_words(vm.record().directory + "/emulator.log");
    move->asking_emulator = false;
    finish(*move, MoveStatus::Failed, "the emulator ended" + (words.empty() ? "" : ": " + words));
    move->record.guest_here = false; // a process that is gone runs nothing
    (void)save(*move);
}

} // namespace drover::balancer
