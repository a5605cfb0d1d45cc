// SPDX-License-Identifier: GPL-2.0-or-later
#include "system/xen_server.h"

#include "util/log.h"
#include "vmm/xen/live/model_monitor.h"

namespace drover {

namespace {

constexpr std::chrono::milliseconds last_words_time{300};
/// docs/heterogeneity.md, "Devices".
constexpr const char* no_balloon = "a guest of Xen's keeps its memory: its device model would end "
                                   "where the guest puts a page into its balloon";

/// HMP commands that are ours, and not the device model's.
bool is_own_word(const Json& arguments)
{
    std::string line = json_string(arguments, "command-line");
    line.erase(0, line.find_first_not_of(" \t"));
    const std::string word = line.substr(0, line.find_first_of(" \t"));
    for (const char* own :
         {"stop", "s", "cont", "c", "quit", "q", "migrate", "migrate_incoming", "balloon"})
        if (word == own)
            return true;
    return false;
}

} // namespace

XenServer::XenServer(xen::XlDomain facts, MigrationWish wish, Callbacks callbacks)
    : facts_(std::move(facts)), wish_(std::move(wish)), callbacks_(std::move(callbacks))
{
}

XenServer::~XenServer() = default;

Status XenServer::start(const std::vector<MonitorEndpoint>& monitors)
{
    auto domain = xen::XenDomain::open(facts_.id);
    if (!domain)
        return pass(domain);
    domain_ = std::move(*domain);
    auto ram = xen::ram_of(domain_, facts_.layout);
    if (!ram)
        return pass(ram);
    ram_ = std::move(*ram);
    for (const MonitorEndpoint& endpoint : monitors) {
        auto opened = open_monitor(endpoint);
        if (!opened)
            return pass(opened);
        monitors_.push_back(std::move(*opened));
    }
    auto socket = xen::connect_to_model(std::to_string(facts_.id));
    if (!socket)
        return pass(socket);
    model_ = std::make_unique<QmpClient>(
        std::move(*socket), QmpClient::Callbacks{
                                [this](const Json& event) {
                                    if (machine_)
                                        machine_->model_told(event);
                                    const std::string name = json_string(event, "event");
                                    if (server_ && !name.starts_with("MIGRATION"))
                                        server_->broadcast(event);
                                },
                                [this](const Error& how) { model_gone(how); },
                            });
    model_->negotiate(false, [this](Result<Json> greeting) { model_ready(std::move(greeting)); });
    return {};
}

void XenServer::model_ready(Result<Json> greeting)
{
    if (!greeting)
        return; // model_gone() tells
    build(std::move(*greeting));
    learn_settings([this] { serve(); });
}

void XenServer::build(Json greeting)
{
    const Json version = greeting.value("version", Json::object()).value("qemu", Json::object());
    machine_ =
        std::make_unique<xen::XenSource>(domain_, *model_, std::move(ram_),
                                         std::to_string(json_u64(version, "major")) + "." +
                                             std::to_string(json_u64(version, "minor")) + "." +
                                             std::to_string(json_u64(version, "micro")));
    control_ = std::make_unique<MigrateControl>(*machine_, *model_, wish_, NamedDescriptors(),
                                                MigrateControl::Callbacks{
                                                    .event =
                                                        [this](const Json& event) {
                                                            if (server_)
                                                                server_->broadcast(event);
                                                        },
                                                    .incoming_failed = [](const Error&) {},
                                                    .served = [] {},
                                                    .source_ended = [this] { source_ended(); },
                                                    .given_back = [] {},
                                                });
    commands_ = std::make_unique<MonitorCommands>(*model_, *control_, nullptr, command_callbacks());
    server_ = std::make_unique<QmpServer>(std::move(greeting), *this);
}

MonitorCommands::Callbacks XenServer::command_callbacks()
{
    return {
        .start_paused = [](bool) {},
        .run_state_changes = [](bool) {},
        .blockers = [](auto done) { done(std::vector<std::string>()); },
        .opening_by_text = [](const std::string&) {},
        .opening = [](Json&) {},
        .copying_flags = [] {},
        .quit_when_served = [] {},
    };
}

void XenServer::learn_settings(std::function<void()> then)
{
    model_->execute("query-migrate-capabilities", Json::object(),
                    [this, then = std::move(then)](const Result<Json>& list) mutable {
                        if (list)
                            control_->settings().learn_capabilities(*list);
                        model_->execute("query-migrate-parameters", Json::object(),
                                        [this, then = std::move(then)](const Result<Json>& known) {
                                            if (known)
                                                control_->settings().learn_parameters(*known);
                                            then();
                                        });
                    });
}

void XenServer::serve()
{
    for (OpenMonitor& monitor : std::exchange(monitors_, {}))
        server_->add_monitor(std::move(monitor));
    log::info("serving domain " + std::to_string(facts_.id));
}

void XenServer::handle(QmpRequest request, QmpResponder respond)
{
    const std::string& command = request.command;
    if (command == "stop")
        return stop(respond);
    if (command == "cont")
        return run(respond);
    if (command == "quit")
        return quit(respond);
    if (command == "query-status") {
        const std::string state = machine_->run_state();
        return respond(QmpResponse::ok(
            Json{{"status", state}, {"running", state == "running"}, {"singlestep", false}}));
    }
    if (command == "migrate") {
        const auto target = control_->target(request.arguments);
        if (target && target->native) // of the device model alone
            return respond(QmpResponse::error("a guest of Xen's is saved to a file by xl save"));
    }
    if (command == "migrate-incoming")
        return respond(QmpResponse::error("the guest is here already: drover-xen incoming"));
    if (command == "balloon")
        return respond(QmpResponse::error(no_balloon));
    if (command == "human-monitor-command" && is_own_word(request.arguments))
        return respond(QmpResponse::ok("Error: use the QMP command\r\n"));
    commands_->handle(std::move(request), std::move(respond));
}

void XenServer::stop(const QmpResponder& respond)
{
    if (Status allowed = control_->may_change_run_state(); !allowed)
        return respond(QmpResponse::error(allowed.error()));
    const bool ran = machine_->run_state() == "running";
    Status paused = machine_->pause();
    if (paused && ran)
        server_->broadcast(make_event("STOP", Json::object()));
    answer(respond, paused);
}

void XenServer::run(const QmpResponder& respond)
{
    if (Status allowed = control_->may_change_run_state(); !allowed)
        return respond(QmpResponse::error(allowed.error()));
    if (!control_->guest_is_away())
        return run_here(respond);
    control_->take_back([this, respond](const Status& back) {
        if (!back)
            return respond(QmpResponse::error(back.error()));
        run_here(respond);
    });
}

void XenServer::run_here(const QmpResponder& respond)
{
    machine_->run([this, respond](const Status& runs) {
        if (runs)
            server_->broadcast(make_event("RESUME", Json::object()));
        answer(respond, runs);
    });
}

/// A domain whose guest runs elsewhere is destroyed; any other stays as it is.
void XenServer::quit(const QmpResponder& respond)
{
    if (control_->is_migrating())
        return respond(QmpResponse::error("a migration is under way: migrate_cancel ends it"));
    const bool away =
        json_string(control_->query(), "status") == "completed" && !control_->guest_is_away();
    if (away)
        if (auto destroyed = xen::run_xl({"destroy", std::to_string(facts_.id)}); !destroyed)
            return respond(QmpResponse::error(destroyed.error()));
    respond(QmpResponse::ok());
    end_timer_ = loop::after(last_words_time, [this] { end(0); });
}

void XenServer::terminate()
{
    if (!control_ || !control_->is_migrating())
        return end(0);
    terminates_ = true;
    (void)control_->cancel();
}

/// A guest that was given up runs again before we end; one that is being handed over is waited for.
void XenServer::source_ended()
{
    if (terminates_)
        end_timer_ = loop::after(std::chrono::milliseconds(0), [this] { end(0); });
}

void XenServer::model_gone(const Error& how)
{
    if (end_timer_)
        return;
    const Error gone{ErrorKind::Machine, "the device model has ended: " + how.message,
                     "the guest is gone with it"};
    log::info(gone.message);
    if (control_)
        (void)control_->process_died(gone);
    end_timer_ = loop::after(last_words_time, [this] { end(machine_ ? 0 : 1); });
}

void XenServer::defect_found(const Error& defect)
{
    if (control_)
        control_->defect_found(defect);
}

void XenServer::end(int code)
{
    callbacks_.end(code);
}

} // namespace drover
