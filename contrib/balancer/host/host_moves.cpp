// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/host/host_moves_state.h"

#include "contrib/balancer/host/state_file.h"
#include "migration/transport/address.h"
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

} // namespace

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

bool has_good_owner(const Json& arguments)
{
    return !arguments.contains("owner") || is_migration_id(json_string(arguments, "owner"));
}

Error not_found(const std::string& id)
{
    return {ErrorKind::Invalid, "this host never heard of the migration " + id, {}};
}

HostMoves::HostMoves(const DroverdConfig& config, HostVms& vms,
                     std::function<void(const Json&)> event)
    : config_(config), vms_(vms), tls_(config), event_(std::move(event))
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

/// `arguments` have its ID, and perhaps who begins it.
HostMoves::Move* HostMoves::new_move(const Json& arguments, const std::string& vm, bool incoming)
{
    forget_old();
    const std::string id = json_string(arguments, "migration");
    auto& move = moves_[id];
    move = std::make_unique<Move>();
    move->record.id = id;
    move->record.owner = json_string(arguments, "owner");
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
        Move* move = new_move({{"migration", id}}, record->vm, record->incoming);
        move->record = std::move(*record);
        Vm* vm = vms_.find(move->record.vm);
        const bool in_it = vm != nullptr && vm->record().migration == id;
        if (is_over(move->record.status)) {
            if (in_it) // we were ended before it was tidied up
                finish(*move, move->record.status, move->record.error);
            continue;
        }
        if (vm == nullptr && !vms_.has_ended(move->record.vm, !move->record.incoming)) {
            move->out_of_sight = true; // nobody says that its guest is not here
            watch(*move);              // until its emulator is adopted again
            continue;
        }
        if (!in_it) {
            finish(*move, MoveStatus::Failed, "its emulator ended while droverd was not running");
            if (vm == nullptr)
                runs_nothing(*move);
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
    const bool guest_stays = (status == MoveStatus::Completed) == move.record.incoming;
    if (vm == nullptr || vm->record().migration != move.record.id)
        return vms_.migration_settled(move.record.vm, move.record.id, guest_stays);
    if (!guest_stays)
        return vms_.retire(*vm, !move.record.incoming);
    if (const Status saved = vms_.set_migration(*vm, "", false); !saved)
        log::warning(saved.error().text());
    vm->refresh();
}

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

/// All that are kept: who wants to know what other balancers do here asks this.
void HostMoves::query_all(const Json& /*arguments*/, const Answer& answer)
{
    Json list = Json::array();
    for (const auto& [id, move] : moves_)
        list.push_back(to_json(move->record));
    answer(std::move(list));
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
    if (arguments.contains("policy"))
        asked["policy"] = arguments["policy"];
    if (arguments.contains("check"))
        asked["check"] = arguments["check"];
    if (arguments.contains("bandwidth")) // the emulator takes whole bytes
        asked["bandwidth"] =
            static_cast<uint64_t>(std::clamp(arguments["bandwidth"].get<double>(), 1.0, 1e15));
    // As the migration itself would be; and who may only look does not change how one is.
    if (const auto address = MigrationAddress::parse(json_string(asked, "uri"));
        address && open_move_of(*vm) == nullptr)
        for (const EmulatorCommand& command :
             tls_.at_source(json_string(arguments, "tls-hostname", address->host)))
            vm->link().execute(command.name, command.arguments, [](const Result<Json>&) {});
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
        if (!move.record.incoming && move.begun && !move.out_of_sight)
            finish(move, MoveStatus::Failed, "it was not begun: droverd was ended before");
        return;
    }
    if (!move.record.incoming && !move.begun)
        return;                                  // of an earlier migration
    if (std::exchange(move.out_of_sight, false)) // it is the one: it knows of a migration
        if (Vm* vm = vms_.find(move.record.vm))
            (void)vms_.set_migration(*vm, move.record.id, move.record.incoming);
    move.record.total = reading.total;
    move.record.remaining = reading.remaining;
    move.record.rate = move.rate.update(reading.transferred, drover::Clock::now());
    move.record.downtime = reading.downtime;
    move.record.total_time = reading.total_time;
    if (*reading.status != MoveStatus::Waiting)
        move.limit.reset();
    if (!move.record.incoming)
        note_whether_it_runs(move);
    if (move.record.held && *reading.status == MoveStatus::Completed) {
        if (!is_over(move.record.status))
            set_status(move, MoveStatus::Asking);
        return;
    }
    if (is_over(*reading.status))
        finish(move, *reading.status, reading.error);
    else
        set_status(move, *reading.status);
}

/// Once it is paused for the migration, nobody can tell that from a pause of the user's.
void HostMoves::note_whether_it_runs(Move& move)
{
    const Vm* vm = vms_.find(move.record.vm);
    const std::string state = vm != nullptr ? vm->run_state() : std::string();
    if (!state.empty() && state != "finish-migrate" && state != "postmigrate" && state != "colo")
        move.record.guest_ran = state == "running" || state == "suspended";
}

void HostMoves::migration_news(Vm& vm)
{
    Move* move = open_move_of(vm);
    if (move == nullptr)
        return;
    if (!move->record.incoming)
        note_whether_it_runs(*move);
    // A destination that has just started, or that a droverd before us did not finish preparing.
    if (move->record.incoming && move->record.uri.empty() && vm.waits_for_guest()) {
        if (!std::exchange(move->door_opening, true))
            first_door(*move, vm);
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
    runs_nothing(*move);
}

/// A guest of Xen's, whose drover-xen died in the midst: its domain says where it is. One that
/// stands still at its source was paused by that process: the destination may have been told to run
/// it, so that nobody lets it go on here by himself.
void HostMoves::vm_served_again(Vm& vm, bool runs)
{
    Move* move = open_move_of(vm);
    if (move == nullptr)
        return;
    move->asking_emulator = false;
    if (move->record.incoming) // xl gives a domain its name when it is told to run it
        return finish(*move, MoveStatus::Completed, {});
    finish(*move, MoveStatus::Failed,
           runs ? "drover-xen ended: the guest runs here on"
                : "drover-xen ended while the guest was paused: its domain stands still here. If "
                  "the destination does not have it, vm-execute cont; else vm-end with force");
    if (!runs)
        runs_nothing(*move);
}

/// A process that is gone runs no guest.
void HostMoves::runs_nothing(Move& move)
{
    move.record.guest_here = false;
    (void)save(move);
}

} // namespace drover::balancer
