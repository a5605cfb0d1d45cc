// SPDX-License-Identifier: GPL-2.0-or-later
#include "system/emulator.h"

#include "util/log.h"
#include "vmm/qemu/ram_file.h"
#include "vmm/qemu/tracker/handover.h"

#include <algorithm>
#include <csignal>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

namespace drover {

namespace {

/// Last words to a peer of a migration need a moment on the wire before we are gone.
constexpr std::chrono::milliseconds last_words_time{300};
/// How long a destination stays that could not start the guest after the source's commit: only its
/// word lets a source whose link broke run the guest again.
constexpr std::chrono::minutes owed_answer_time{10};

/// "DEV:INO,DEV:INO": how the preloaded library knows guest RAM when it sees it.
Result<std::string> file_ids(const std::vector<RamBlock>& ram)
{
    std::string ids;
    for (const RamBlock& block : ram) {
        struct stat file {};
        if (fstat(block.file.get(), &file) < 0)
            return fail_errno("looking at RAM block " + block.name, errno);
        char text[64];
        snprintf(text, sizeof text, "%s%llx:%llx", ids.empty() ? "" : ",",
                 static_cast<unsigned long long>(file.st_dev),
                 static_cast<unsigned long long>(file.st_ino));
        ids += text;
    }
    return ids;
}

std::string with_our_preload(const std::string& library)
{
    const char* users = getenv("LD_PRELOAD");
    return users && *users ? library + ":" + users : library;
}

/// Descriptors that are ours alone: if QEMU held the other end too, a peer would not notice our
/// death.
void keep_from_child(const qemu::LaunchPlan& plan)
{
    for (const MonitorEndpoint& monitor : plan.monitors)
        if (monitor.fd > STDERR_FILENO)
            (void)set_close_on_exec(monitor.fd, true);
}

} // namespace

struct Emulator::Links {
    UniqueFd engine_ours, engine_qemus;
    UniqueFd user_ours, user_qemus;
    UniqueFd tracker_qemus;
};

Emulator::Emulator(qemu::LaunchPlan plan, MigrationWish wish, std::set<int> inherited,
                   Callbacks callbacks)
    : plan_(std::move(plan)), wish_(wish), inherited_(std::move(inherited)),
      callbacks_(std::move(callbacks))
{
    for (const MonitorEndpoint& monitor : plan_.monitors)
        inherited_.erase(monitor.fd); // the server's
}

Emulator::~Emulator() = default;

Status Emulator::start()
{
    if (Status made = create_ram(); !made)
        return made;
    Links links;
    auto engine = socket_pair();
    auto user = socket_pair();
    if (!engine || !user)
        return engine ? pass(user) : pass(engine);
    links.engine_ours = std::move(engine->first);
    links.engine_qemus = std::move(engine->second);
    links.user_ours = std::move(user->first);
    links.user_qemus = std::move(user->second);
    int tracker[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, tracker) < 0)
        return fail_errno("making a socket pair", errno);
    tracker_socket_ = UniqueFd(tracker[0]);
    links.tracker_qemus = UniqueFd(tracker[1]);
    if (Status spawned = spawn(links); !spawned)
        return spawned;
    connect_monitors(links);
    return {};
}

Status Emulator::create_ram()
{
    for (const qemu::RamFile& wanted : plan_.ram) {
        auto block = qemu::create_ram_block(wanted);
        if (!block)
            return pass(block);
        ram_.push_back(std::move(*block));
    }
    return {};
}

Status Emulator::spawn(Links& links)
{
    auto library = find_tracker_library();
    auto ids = file_ids(ram_);
    if (!library || !ids)
        return library ? pass(ids) : pass(library);
    std::vector<int> ram_fds;
    ram_fds.reserve(ram_.size());
    for (const RamBlock& block : ram_)
        ram_fds.push_back(block.file.get());
    const std::vector<int> qmp_fds{links.engine_qemus.get(), links.user_qemus.get()};

    qemu::SpawnRequest request;
    request.binary = plan_.binary;
    request.arguments = qemu::qemu_arguments(plan_, ram_fds, qmp_fds);
    keep_from_child(plan_);
    descriptors_.inherit(inherited_, request.arguments);
    request.keep_fds = ram_fds;
    request.keep_fds.insert(request.keep_fds.end(), qmp_fds.begin(), qmp_fds.end());
    request.keep_fds.push_back(links.tracker_qemus.get());
    request.environment = {
        {"LD_PRELOAD", with_our_preload(*library)},
        {tracker_socket_variable, std::to_string(links.tracker_qemus.get())},
        {tracker_files_variable, *ids},
    };
    // Who starts a daemon by a pipe reads until its last writer has closed it.
    request.null_stdio = plan_.daemonize;
    for (const MonitorEndpoint& monitor : plan_.monitors)
        request.null_stdio = request.null_stdio || monitor.kind == MonitorEndpoint::Kind::Stdio;
    auto process = qemu::QemuProcess::spawn(
        request, [this](qemu::ExitStatus status, const std::string& last_words) {
            process_exited(status, last_words);
        });
    if (!process)
        return pass(process);
    process_ = std::move(*process);
    descriptors_.close_what_is_qemus();
    return {};
}

void Emulator::connect_monitors(Links& links)
{
    // QEMU's death shows in two ways, here and as the child's exit: the latter says more.
    auto closed = [](const Error&) {};
    engine_qmp_ = std::make_unique<QmpClient>(
        std::move(links.engine_ours), QmpClient::Callbacks{[this](const Json& event) {
                                                               if (machine_)
                                                                   machine_->handle_event(event);
                                                           },
                                                           closed});
    user_qmp_ = std::make_unique<QmpClient>(
        std::move(links.user_ours),
        QmpClient::Callbacks{[this](const Json& event) { handle_user_event(event); }, closed});
    engine_qmp_->negotiate(
        false, [this](Result<Json> greeting) { engine_monitor_ready(std::move(greeting)); });
}

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
    build(std::move(*greeting));
    learn_settings([this] {
        if (plan_.incoming.present)
            control_->allow_incoming(plan_.incoming.uri, [this](const std::string& why) {
                failed_to_start({ErrorKind::Invalid, why, ""});
            });
        if (!exit_code_)
            serve();
    });
}

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
    machine_ = std::make_unique<qemu::QemuMachine>(*engine_qmp_, std::move(config));
    warn_if_untracked();
    control_ = std::make_unique<MigrateControl>(
        *machine_, *user_qmp_, wish_, std::move(descriptors_),
        MigrateControl::Callbacks{
            .event = [this](const Json& event) { server_->broadcast(event); },
            .incoming_failed = [this](const Error& error) { incoming_failed(error); },
            .served =
                [this] {
                    if (exit_code_)
                        end_timer_ = loop::after(last_words_time, [this] { end(*exit_code_); });
                },
            .given_back =
                [this] {
                    exit_code_ = 1;
                    process_->kill(SIGKILL);
                },
        });
    memory_ = std::make_unique<MemoryPlug>(*engine_qmp_, *machine_, *control_);
    commands_ = std::make_unique<MonitorCommands>(
        *user_qmp_, *control_, *memory_,
        MonitorCommands::Callbacks{
            .start_paused = [this](bool paused) { machine_->set_start_paused(paused); },
            .blockers =
                [this](auto done) {
                    if (!memory_->is_busy())
                        machine_->settle_ram(); // what was plugged while a guest came in
                    machine_->ask_blockers(std::move(done));
                },
            .opening = [this](const std::string& text) { machine_->aio_words().learn(text); },
            .copying_flags = [this] { machine_->aio_words().pin(); },
        });
    server_ = std::make_unique<QmpServer>(std::move(greeting), *commands_);
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

void Emulator::learn_settings(std::function<void()> then)
{
    engine_qmp_->execute("query-migrate-capabilities", Json::object(),
                         [this, then = std::move(then)](const Result<Json>& list) mutable {
                             if (list)
                                 control_->settings().learn_capabilities(*list);
                             engine_qmp_->execute(
                                 "query-migrate-parameters", Json::object(),
                                 [this, then = std::move(then)](const Result<Json>& parameters) {
                                     if (!parameters)
                                         return; // QEMU died; its exit tells
                                     control_->settings().learn_parameters(*parameters);
                                     then();
                                 });
                         });
}

/// A client must not see the guest before it was started, nor the event of it: it is started first
/// where no client is awaited, as QEMU does it.
void Emulator::serve()
{
    const bool awaited =
        std::ranges::any_of(plan_.monitors, [](const auto& monitor) { return monitor.wait; });
    if (!awaited)
        return run_guest([this] { open_monitors(); });
    open_monitors();
    server_->when_awaited_clients_came([this] { run_guest([] {}); });
}

void Emulator::open_monitors()
{
    for (const MonitorEndpoint& monitor : plan_.monitors)
        if (Status open = server_->add_monitor(monitor); !open)
            return failed_to_start(open.error());
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

void Emulator::pass_signal(int signal)
{
    if (stays_) // without a QEMU that would see to it
        end(*exit_code_);
    else if (process_)
        process_->kill(signal);
}

void Emulator::failed_to_start(const Error& error)
{
    log::error(error.text());
    exit_code_ = 1;
    process_->kill(SIGKILL);
}

void Emulator::incoming_failed(const Error& error)
{
    log::error("the incoming migration failed; the guest never ran here: " + error.text());
    if (!control_->exits_on_error() && !control_->owes_an_answer())
        return; // its user asks query-migrate why
    exit_code_ = 1;
    if (!control_->owes_an_answer()) {
        end_timer_ = loop::after(last_words_time, [this] { process_->kill(SIGKILL); });
        return;
    }
    log::warning("staying for 10 minutes, so that the source can learn that the guest is its");
    // Without QEMU, which may have locked some of the disks already: the source needs them now.
    stays_ = true;
    process_->kill(SIGKILL);
    end_timer_ = loop::after(owed_answer_time, [this] { end(*exit_code_); });
}

void Emulator::process_exited(qemu::ExitStatus status, const std::string& last_words)
{
    std::string how = "QEMU " + status.text();
    if (!last_words.empty())
        how += "; its last words: " + last_words;
    while (how.ends_with('\n'))
        how.pop_back();
    if (!status.success() && !exit_code_)
        log::error(how);
    const bool telling =
        control_ && control_->process_died({ErrorKind::Machine, how, "the guest is gone with it"});
    const int code = exit_code_.value_or(status.signal ? 128 + status.signal : status.code);
    exit_code_ = code;
    if (stays_)
        return;
    if (control_ && control_->serves_pages())
        log::warning("QEMU has ended, and the guest at its destination still needs memory from "
                     "here: staying until it has it");
    else if (telling)
        end_timer_ = loop::after(last_words_time, [this, code] { end(code); });
    else
        end(code);
}

void Emulator::end(int code)
{
    callbacks_.end(code);
}

} // namespace drover
