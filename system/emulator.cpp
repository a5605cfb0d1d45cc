// SPDX-License-Identifier: GPL-2.0-or-later
#include "system/emulator.h"

#include "util/log.h"
#include "vmm/qemu/blank_line.h"
#include "vmm/qemu/disk_aio.h"
#include "vmm/qemu/tracker/handover.h"

#include <algorithm>

namespace drover {

Emulator::Emulator(qemu::LaunchPlan plan, MigrationWish wish, std::set<int> inherited,
                   Callbacks callbacks)
    : plan_(std::move(plan)), wish_(wish), inherited_(std::move(inherited)),
      callbacks_(std::move(callbacks))
{
    for (const MonitorEndpoint& monitor : plan_.monitors)
        inherited_.erase(monitor.fd); // the server's
}

Emulator::~Emulator() = default;

void Emulator::engine_monitor_ready(Result<Json> greeting)
{
    if (!greeting)
        return; // QEMU died; its exit tells
    user_qmp_->negotiate(true,
                         [this](Result<Json> users) { user_monitor_ready(std::move(users)); });
}

void Emulator::user_monitor_ready(Result<Json> greeting)
{
    if (!greeting)
        return;
    if (Status loaded = check_library(tracker_socket_.get(), process_->pid()); !loaded)
        return failed_to_start(loaded.error());
    build(std::move(*greeting));
    learn_settings([this] { plan_.incoming.present ? await_guest() : serve(); });
}

/// Clients are served once a guest can come: who is answered by the destination's monitor may send
/// it at once.
void Emulator::await_guest()
{
    control_->allow_incoming(plan_.incoming.uri, [this](const std::optional<std::string>& refused) {
        if (refused)
            return failed_to_start({ErrorKind::Invalid, *refused, ""});
        machine_->learn_form_ahead();
        if (!exit_code_)
            serve();
    });
}

namespace {

Result<qemu::BlankPlan> blank_plan(const qemu::LaunchPlan& plan)
{
    auto arguments = qemu::blank_arguments(plan);
    if (!arguments)
        return pass(arguments);
    arguments->insert(arguments->begin(), plan.binary);
    return qemu::BlankPlan{std::move(*arguments), plan.ram};
}

} // namespace

void Emulator::build(Json greeting)
{
    const Json version = greeting.value("version", Json::object()).value("qemu", Json::object());
    qemu::QemuMachineConfig config;
    config.pid = process_->pid();
    config.ram = std::move(ram_);
    config.tracker_socket = std::move(tracker_socket_);
    config.start_paused = plan_.start_paused;
    config.version = std::to_string(json_u64(version, "major")) + "." +
                     std::to_string(json_u64(version, "minor")) + "." +
                     std::to_string(json_u64(version, "micro"));
    config.architecture = plan_.architecture;
    config.aio = plan_.aio;
    config.blocker = plan_.blocker;
    config.blank = blank_plan(plan_);
    config.forms = qemu::FormStore(qemu::FormStore::default_directory());
    machine_ = std::make_unique<qemu::QemuMachine>(*engine_qmp_, std::move(config));
    warn_if_untracked();
    control_ = std::make_unique<MigrateControl>(*machine_, *user_qmp_, wish_,
                                                std::move(descriptors_), control_callbacks());
    memory_ = std::make_unique<MemoryPlug>(*engine_qmp_, *machine_, *control_);
    commands_ = std::make_unique<MonitorCommands>(*user_qmp_, *control_, memory_.get(),
                                                  command_callbacks());
    server_ = std::make_unique<QmpServer>(std::move(greeting), *commands_);
}

MigrateControl::Callbacks Emulator::control_callbacks()
{
    return {
        .event =
            [this](const Json& event) {
                if (server_)
                    server_->broadcast(event);
            },
        .incoming_failed = [this](const Error& error) { incoming_failed(error); },
        .served = [this] { served(); },
        .source_ended = [] {},
        .given_back =
            [this] {
                exit_code_ = 1;
                process_->end_as_failed();
            },
    };
}

MonitorCommands::Callbacks Emulator::command_callbacks()
{
    return {
        .start_paused = [this](bool paused) { machine_->set_start_paused(paused); },
        .run_state_changes =
            [this](bool under_way) {
                under_way ? machine_->run_state_asked() : machine_->run_state_answered();
            },
        .blockers =
            [this](auto done) {
                if (!memory_->is_busy())
                    machine_->settle_ram(); // what was plugged while a guest came in
                machine_->ask_blockers(std::move(done));
            },
        .opening_by_text = [this](const std::string& text) { machine_->aio_words().learn(text); },
        .opening =
            [this](Json& arguments) {
                if (!plan_.keep_aio && qemu::use_aio_threads(arguments))
                    log::info("a disk with aio=native or io_uring has aio=threads here, so that "
                              "this guest can be migrated");
                machine_->aio_words().learn(dump_json(arguments));
            },
        .copying_flags = [this] { machine_->aio_words().pin(); },
        .quit_when_served = [this] { quit_when_served(); },
    };
}

/// Better said now than by the first migration, when it is needed.
void Emulator::warn_if_untracked()
{
    if (plan_.blocker || machine_->ram().empty())
        return;
    if (auto tracker = machine_->tracker(); !tracker)
        log::warning("this guest could not be migrated away from here as it is now: " +
                     tracker.error().text());
}

/// Both at once, to be over soon: QEMU 7.2 dies if it is ended before it answers the second (it has
/// freed what that asks about).
void Emulator::learn_settings(std::function<void()> then)
{
    engine_qmp_->execute("query-migrate-capabilities", Json::object(),
                         [this](const Result<Json>& list) {
                             if (list)
                                 control_->settings().learn_capabilities(*list);
                         });
    engine_qmp_->execute("query-migrate-parameters", Json::object(),
                         [this, then = std::move(then)](const Result<Json>& parameters) {
                             if (!parameters)
                                 return; // QEMU died; its exit tells
                             control_->settings().learn_parameters(*parameters);
                             // By -global.
                             if (Json reset = control_->settings().engine_parameters();
                                 !reset.empty())
                                 engine_qmp_->execute("migrate-set-parameters", std::move(reset),
                                                      [](const Result<Json>&) {});
                             then();
                         });
}

/// A client must not see the guest before it was started, nor the event of it: it is started first
/// where no client is awaited, as QEMU does it.
void Emulator::serve()
{
    const bool awaited =
        std::ranges::any_of(plan_.monitors, [](const auto& monitor) { return monitor.wait; });
    if (!awaited)
        return run_guest([this] { serve_monitors(); });
    serve_monitors();
    server_->when_awaited_clients_came([this] { run_guest([] {}); });
}

void Emulator::serve_monitors()
{
    for (OpenMonitor& monitor : std::exchange(monitors_, {}))
        server_->add_monitor(std::move(monitor));
    callbacks_.up();
}

/// QEMU was started with -S, so that nothing runs before we are ready for it. The users' monitor is
/// the one to use: there the event RESUME, which nobody asked for, comes before the answer.
void Emulator::run_guest(std::function<void()> then)
{
    if (plan_.start_paused || plan_.incoming.present)
        return then();
    starting_guest_ = true;
    user_qmp_->execute(
        "cont", Json::object(), [this, then = std::move(then)](const Result<Json>& answer) {
            starting_guest_ = false;
            if (!answer && answer.error().kind == ErrorKind::Connection)
                return; // QEMU died; its exit tells
            if (!answer)
                log::error("the guest could not be started: " + answer.error().text());
            then();
        });
}

void Emulator::handle_user_event(const Json& event)
{
    const std::string name = json_string(event, "event");
    const bool of_migration = name == "MIGRATION" || name == "MIGRATION_PASS";
    shuts_down_ = shuts_down_ || name == "SHUTDOWN";
    if (starting_guest_ && name == "RESUME")
        return;
    if (server_ && (!of_migration || control_->native_event(event)))
        server_->broadcast(event);
}

void Emulator::defect_found(const Error& defect)
{
    if (control_)
        control_->defect_found(defect);
}

} // namespace drover
