// SPDX-License-Identifier: GPL-2.0-or-later
#include "system/monitor_commands.h"

#include "system/command_table.h"
#include "system/human_commands.h"

#include <algorithm>
#include <sstream>

namespace drover {

namespace {

/// An HMP command's answer.
void say(const QmpResponder& respond, const std::string& text)
{
    respond(QmpResponse::ok(text + "\r\n"));
}

/// The first word of an HMP command line.
std::string first_word(const std::string& line)
{
    constexpr const char* blanks = " \t\n\v\f\r"; // all that QEMU skips
    const size_t start = line.find_first_not_of(blanks);
    if (start == std::string::npos)
        return {};
    return line.substr(start, line.find_first_of(std::string(blanks) + "/", start) - start);
}

} // namespace

const std::vector<OwnCommand>& MonitorCommands::own_commands()
{
    static const std::vector<OwnCommand> commands = {
        {"migrate-resolve", {{"guest-is-here", "bool"}}},
        {"migrate-set-policy",
         {{"preset?", "str"},
          {"downtime?", "any"},
          {"deadline?", "any"},
          {"max-slowdown?", "any"},
          {"bandwidth?", "any"},
          {"cpu?", "any"},
          {"reconnect?", "any"},
          {"verify?", "any"},
          {"tcp-congestion?", "any"},
          {"on-stall?", "any"}}},
        {"query-migrate-policy", {}},
        {"query-migrate-forecast",
         {{"bandwidth?", "any"}, {"check?", "bool"}, {"uri?", "str"}, {"policy?", "str"}}},
    };
    return commands;
}

MonitorCommands::MonitorCommands(QmpClient& qemu, MigrateControl& control, MemoryPlug* memory,
                                 Callbacks callbacks)
    : qemu_(qemu), control_(control), memory_(memory), callbacks_(std::move(callbacks))
{
    if (memory_)
        add_memory_commands();
    add_migration_commands();
    add_run_state_commands();
    add_introspection_commands();
}

void MonitorCommands::handle(QmpRequest request, QmpResponder respond)
{
    const auto own = handlers_.find(request.command);
    if (own == handlers_.end())
        return forward(request, std::move(respond));
    own->second(request, respond);
}

/// Before anything that looks at guest RAM as it is now.
void MonitorCommands::ask_blockers(const QmpResponder& respond,
                                   std::function<void(const std::vector<std::string>&)> then)
{
    callbacks_.blockers([this, respond,
                         then = std::move(then)](const Result<std::vector<std::string>>& reasons) {
        if (!reasons)
            return respond(QmpResponse::error(reasons.error()));
        if (memory_is_busy())
            return respond(QmpResponse::error("the guest's memory is being changed: try again"));
        then(*reasons);
    });
}

void MonitorCommands::add_memory_commands()
{
    const auto to_qemu = [this](QmpRequest request, QmpResponder respond) {
        forward(request, std::move(respond));
    };
    handlers_["object-add"] = [this, to_qemu](QmpRequest& request, QmpResponder& respond) {
        memory_->add(std::move(request), std::move(respond), to_qemu);
    };
    handlers_["object-del"] = [this, to_qemu](QmpRequest& request, QmpResponder& respond) {
        memory_->remove(std::move(request), respond, to_qemu);
    };
}

/// While no migration is under way QEMU's own reasons against one are shown too, and ours with
/// them: libvirt looks before it begins.
void MonitorCommands::query_migrate(QmpResponder& respond)
{
    if (!control_.may_migrate())
        return respond(QmpResponse::ok(control_.query()));
    callbacks_.blockers([this, respond](const Result<std::vector<std::string>>& reasons) {
        Json info = control_.query();
        if (reasons && !reasons->empty() && !memory_is_busy())
            info["blocked-reasons"] = *reasons;
        respond(QmpResponse::ok(std::move(info)));
    });
}

/// Whatever opens an image may bring Linux AIO or io_uring along, which QEMU tells of nowhere.
void MonitorCommands::learn_disks(QmpRequest& request) const
{
    const std::string& command = request.command;
    if (command == "blockdev-add" || command == "blockdev-reopen" || command == "blockdev-create")
        callbacks_.opening(request.arguments);
    std::string word;
    if (command == "human-monitor-command") {
        std::string line = json_string(request.arguments, "command-line");
        word = first_word(line);
        std::ranges::replace(line, ' ', ',');
        callbacks_.opening_by_text(line);
    }
    // These open images with the flags of one that is open: a name is no sign any more.
    for (const char* copies :
         {"drive-mirror", "drive-backup", "transaction", "blockdev-snapshot-sync", "drive_mirror",
          "drive_backup", "snapshot_blkdev"})
        if (command == copies || word == copies)
            callbacks_.copying_flags();
}

void MonitorCommands::forward(QmpRequest& request, QmpResponder respond)
{
    if (Status may = may_pass(request.command, control_.phase()); !may)
        return respond(QmpResponse::error(may.error()));
    learn_disks(request);
    control_.descriptors().used_by(request.arguments);
    pass_on(request, std::move(respond));
}

void MonitorCommands::pass_on(QmpRequest& request, QmpResponder respond)
{
    Json command{{request.out_of_band ? "exec-oob" : "execute", request.command}};
    if (!request.arguments.empty())
        command["arguments"] = std::move(request.arguments);
    qemu_.forward(
        std::move(command),
        [respond = std::move(respond)](Json response) {
            respond(QmpResponse{std::move(response)});
        },
        std::move(request.fds));
}

void MonitorCommands::add_migration_commands()
{
    handlers_["migrate"] = [this](QmpRequest& request, QmpResponder& respond) {
        migrate(request, respond);
    };
    handlers_["migrate-incoming"] = [this](QmpRequest& request, QmpResponder& respond) {
        control_.migrate_incoming(request.arguments, respond);
    };
    handlers_["migrate-resolve"] = [this](QmpRequest& request, QmpResponder& respond) {
        answer(respond, control_.resolve(request.arguments));
    };
    handlers_["getfd"] = [this](QmpRequest& request, QmpResponder& respond) {
        getfd(request, respond);
    };
    handlers_["closefd"] = [this](QmpRequest& request, QmpResponder& respond) {
        control_.descriptors().forget(json_string(request.arguments, "fdname"));
        pass_on(request, std::move(respond));
    };
    add_native_commands();
    add_settings_commands();
}

/// What keeps Drover from moving a guest (a device that writes past it) is no matter for QEMU's own
/// migration, which knows what it can.
void MonitorCommands::migrate(QmpRequest& request, QmpResponder& respond)
{
    if (json_bool(request.arguments, "resume"))
        return answer(respond, control_.resume(request.arguments));
    if (Status may = control_.may_migrate(); !may)
        return respond(QmpResponse::error(may.error()));
    const auto target = control_.target(request.arguments);
    if (!target)
        return respond(QmpResponse::error(target.error()));
    if (target->native)
        return control_.migrate_natively(request.arguments, respond);
    ask_blockers(respond, [this, arguments = request.arguments, respond](const auto& reasons) {
        control_.migrate(arguments, reasons, respond);
    });
}

/// Commands about a migration under way: QEMU's where QEMU's own is in charge.
void MonitorCommands::add_native_commands()
{
    const auto add = [this](const char* name, Handler own) {
        handlers_[name] = [this, own = std::move(own)](QmpRequest& request, QmpResponder& respond) {
            if (control_.native().in_charge())
                return pass_on(request, std::move(respond));
            own(request, respond);
        };
    };
    add("query-migrate", [this](QmpRequest&, QmpResponder& respond) { query_migrate(respond); });
    add("migrate_cancel",
        [this](QmpRequest&, QmpResponder& respond) { answer(respond, control_.cancel()); });
    add("migrate-continue", [this](QmpRequest& request, QmpResponder& respond) {
        answer(respond, control_.proceed(request.arguments));
    });
    add("migrate-start-postcopy",
        [this](QmpRequest&, QmpResponder& respond) { answer(respond, control_.start_postcopy()); });
    add("migrate-pause",
        [this](QmpRequest&, QmpResponder& respond) { answer(respond, control_.pause_postcopy()); });
    add("migrate-recover", [this](QmpRequest& request, QmpResponder& respond) {
        answer(respond, control_.recover_postcopy(request.arguments));
    });
}

void MonitorCommands::add_settings_commands()
{
    handlers_["migrate-set-parameters"] = [this](QmpRequest& request, QmpResponder& respond) {
        control_.set_parameters(request.arguments, std::move(respond));
    };
    handlers_["migrate-set-capabilities"] = [this](QmpRequest& request, QmpResponder& respond) {
        control_.set_capabilities(request.arguments, std::move(respond));
    };
    handlers_["query-migrate-parameters"] = [this](QmpRequest&, QmpResponder& respond) {
        respond(QmpResponse::ok(control_.settings().parameters()));
    };
    handlers_["query-migrate-capabilities"] = [this](QmpRequest&, QmpResponder& respond) {
        respond(QmpResponse::ok(control_.settings().capabilities()));
    };
    handlers_["migrate-set-policy"] = [this](QmpRequest& request, QmpResponder& respond) {
        answer(respond, control_.set_policy(request.arguments));
    };
    handlers_["query-migrate-policy"] = [this](QmpRequest&, QmpResponder& respond) {
        respond(QmpResponse::ok(control_.settings().policy()));
    };
    handlers_["query-migrate-forecast"] = [this](QmpRequest& request, QmpResponder& respond) {
        ask_blockers(respond, [this, arguments = request.arguments, respond](const auto& reasons) {
            control_.forecast(arguments, reasons, respond);
        });
    };
}

/// A named descriptor may be meant for QEMU (a tap) or for a migration.
void MonitorCommands::getfd(QmpRequest& request, QmpResponder& respond)
{
    auto copy = std::make_shared<UniqueFd>();
    if (!request.fds.empty())
        if (auto made = request.fds.front().duplicate())
            *copy = std::move(*made);
    const std::string name = json_string(request.arguments, "fdname");
    pass_on(request, [this, copy, name, respond = std::move(respond)](QmpResponse response) {
        if (*copy && !response.body.contains("error"))
            control_.descriptors().name(name, std::move(*copy));
        respond(std::move(response));
    });
}

void MonitorCommands::add_run_state_commands()
{
    handlers_["cont"] = [this](QmpRequest& request, QmpResponder& respond) {
        change_run_state(request, respond, false);
    };
    handlers_["stop"] = [this](QmpRequest& request, QmpResponder& respond) {
        change_run_state(request, respond, true);
    };
    handlers_["quit"] = [this](QmpRequest& request, QmpResponder& respond) {
        quit(request, respond);
    };
    handlers_["human-monitor-command"] = [this](QmpRequest& request, QmpResponder& respond) {
        human_monitor_command(request, respond);
    };
}

void MonitorCommands::change_run_state(QmpRequest& request, QmpResponder& respond, bool paused)
{
    if (Status allowed = control_.may_change_run_state(); !allowed)
        return respond(QmpResponse::error(allowed.error()));
    if (control_.native().awaits_guest())
        return pass_on(request, std::move(respond));
    if (control_.awaits_guest()) {
        if (control_.is_taking_over())
            return respond(QmpResponse::error("the guest is just arriving: try again"));
        callbacks_.start_paused(paused);
        return respond(QmpResponse::ok());
    }
    if (!paused && control_.guest_is_away())
        return take_back(request, std::move(respond));
    if (Status ours = paused ? Status() : control_.claim(); !ours)
        return respond(QmpResponse::error(ours.error()));
    forward_run_state(request, std::move(respond));
}

/// What a user was answered must hold, whatever migration begins meanwhile.
void MonitorCommands::forward_run_state(QmpRequest& request, QmpResponder respond)
{
    callbacks_.run_state_changes(true);
    forward(request, [this, respond = std::move(respond)](QmpResponse response) {
        callbacks_.run_state_changes(false);
        respond(std::move(response));
    });
}

void MonitorCommands::quit(QmpRequest& request, QmpResponder& respond)
{
    if (!control_.serves_pages())
        return forward(request, std::move(respond));
    callbacks_.quit_when_served();
    respond(QmpResponse::ok());
}

/// "cont" after a migration that left the guest paused at its destination: only once it is certain
/// that it will not be run there.
void MonitorCommands::take_back(QmpRequest& request, QmpResponder respond)
{
    auto held = std::make_shared<QmpRequest>(std::move(request));
    control_.take_back([this, held, respond = std::move(respond)](const Status& back) mutable {
        if (!back)
            return respond(QmpResponse::error(back.error()));
        forward_run_state(*held, std::move(respond));
    });
}

/// HMP's own migration and run-state commands would go past Drover: each is the QMP command. As in
/// QEMU, an HMP command never fails as a QMP command: what is wrong is said in its text.
void MonitorCommands::human_monitor_command(QmpRequest& request, QmpResponder& respond)
{
    const std::string line = json_string(request.arguments, "command-line");
    const std::string word = first_word(line);
    auto human = read_human_command(line, control_.settings().parameters());
    if (!human) {
        if (Status may = may_pass_hmp(word, control_.phase()); !may)
            return say(respond, "Error: " + may.error().text());
        if (word == "object_add" || word == "object_del")
            return human_object_command(request, respond);
        return forward(request, std::move(respond));
    }
    if (!human->refusal.empty())
        return say(respond, human->refusal);
    QmpRequest own;
    own.command = human->command;
    own.arguments = std::move(human->arguments);
    own.client = request.client;
    handle(std::move(own),
           [respond = std::move(respond), command = human->command](const QmpResponse& response) {
               respond(QmpResponse::ok(human_answer(command, response.body)));
           });
}

/// HMP tells of success by silence only: memory is to be added by QMP, and what was taken away is
/// looked for.
void MonitorCommands::human_object_command(QmpRequest& request, QmpResponder& respond)
{
    std::istringstream words(json_string(request.arguments, "command-line"));
    std::string word;
    std::string object;
    words >> word >> object;
    if (word == "object_add" && object.find("memory-backend-") != std::string::npos)
        return say(respond, "Error: HMP's object_add would go past Drover, which carries the "
                            "guest's memory: use the QMP command object-add");
    if (word == "object_del" && control_.phase() != GuestPhase::Free)
        return say(respond, "Error: object_del not allowed while migrating");
    forward(request, [this, word, object, respond](const QmpResponse& response) {
        respond(response);
        if (word == "object_del" && memory_)
            memory_->may_have_gone(object);
    });
}

void MonitorCommands::add_introspection_commands()
{
    handlers_["query-commands"] = [this](QmpRequest&, QmpResponder& respond) {
        qemu_.execute("query-commands", Json::object(),
                      [respond = std::move(respond)](Result<Json> list) {
                          if (!list)
                              return respond(QmpResponse::error(list.error()));
                          std::vector<std::string> names;
                          for (const OwnCommand& command : own_commands())
                              names.push_back(command.name);
                          respond(QmpResponse::ok(merge_commands(std::move(*list), names)));
                      });
    };
    handlers_["query-qmp-schema"] = [this](QmpRequest&, QmpResponder& respond) {
        qemu_.execute("query-qmp-schema", Json::object(),
                      [respond = std::move(respond)](Result<Json> schema) {
                          if (!schema)
                              return respond(QmpResponse::error(schema.error()));
                          respond(
                              QmpResponse::ok(merge_schema(std::move(*schema), own_commands())));
                      });
    };
}

} // namespace drover
