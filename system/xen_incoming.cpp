// SPDX-License-Identifier: GPL-2.0-or-later
#include "system/xen_incoming.h"

#include "system/migrate_control.h"
#include "system/migrate_info.h"
#include "util/log.h"

namespace drover {

namespace {

constexpr std::chrono::milliseconds last_words_time{300};
/// Only our word lets a source that lost its link at the commit run the guest again.
constexpr std::chrono::minutes owed_answer_time{10};
constexpr size_t max_objects = 64;

Json greeting()
{
    const Json version{{"major", 0}, {"minor", 1}, {"micro", 0}};
    return Json{{"version", {{"qemu", version}, {"package", own_software}}},
                {"capabilities", Json::array()}};
}

} // namespace

XenIncoming::XenIncoming(xen::XenDestination::Config config, Callbacks callbacks)
    : machine_(std::move(config)), callbacks_(std::move(callbacks))
{
}

Status XenIncoming::start(const std::optional<MigrationAddress>& address,
                          const std::vector<MonitorEndpoint>& monitors)
{
    server_ = std::make_unique<QmpServer>(greeting(), *this);
    for (const MonitorEndpoint& endpoint : monitors) {
        auto opened = open_monitor(endpoint);
        if (!opened)
            return pass(opened);
        server_->add_monitor(std::move(*opened));
    }
    return address ? open_door(*address) : Status();
}

Status XenIncoming::open_door(const MigrationAddress& address)
{
    const Json authz = tls_.authz.empty() ? Json() : user_object(tls_.authz);
    auto tls = tls_.creds.empty() ? SharedTlsCredentials()
                                  : make_tls_credentials(user_object(tls_.creds), authz,
                                                         TlsWords::Endpoint::Server, {});
    if (!tls)
        return pass(tls);
    door_ = std::make_unique<IncomingDoor>(
        machine_, own_software, std::move(*tls),
        IncomingDoor::Callbacks{
            .state_changed = [this](DestinationState state) { changed(state); },
            .turned_away =
                [](const Error& error, const std::string& peer) {
                    log::warning("turned away " + peer + ": " + error.text());
                },
            .given_back = [] {},
        });
    Status listening = door_->listen(address);
    if (!listening)
        door_.reset();
    return listening;
}

Status XenIncoming::open_late(const Json& arguments)
{
    if (door_)
        return fail(ErrorKind::Refused, "the guest is waited for already");
    auto address = MigrationAddress::parse(json_string(arguments, "uri"));
    return address ? open_door(*address) : Status(pass(address));
}

/// An object that is lacking is none that anything can be made of.
Json XenIncoming::user_object(const std::string& id) const
{
    const auto found = objects_.find(id);
    return found == objects_.end() ? Json::object() : found->second;
}

/// TLS is set up by QEMU's commands, though here is no QEMU yet that would have the objects.
bool XenIncoming::handle_tls(const QmpRequest& request, const QmpResponder& respond)
{
    const Json& arguments = request.arguments;
    const std::string id = json_string(arguments, "id");
    if (request.command == "object-add" && objects_.size() < max_objects) {
        Json object = arguments;
        object["type"] = json_string(arguments, "qom-type");
        if (!objects_.emplace(id, std::move(object)).second)
            return respond(QmpResponse::error("attempt to add duplicate property '" + id + "'")),
                   true;
        return respond(QmpResponse::ok()), true;
    }
    if (request.command == "object-del") {
        if (objects_.erase(id) == 0)
            return respond(QmpResponse::error("object '" + id + "' not found")), true;
        return respond(QmpResponse::ok()), true;
    }
    if (request.command != "migrate-set-parameters")
        return false;
    if (arguments.contains("tls-creds"))
        tls_.creds = json_string(arguments, "tls-creds");
    if (arguments.contains("tls-authz"))
        tls_.authz = json_string(arguments, "tls-authz");
    respond(QmpResponse::ok());
    return true;
}

void XenIncoming::changed(DestinationState state)
{
    const DestinationSession& coming = *session();
    const std::string status = migration_status(coming);
    if (std::exchange(last_status_, status) != status && events_)
        server_->broadcast(make_event("MIGRATION", Json{{"status", status}}));
    if (state == DestinationState::Completed)
        log::info("the guest came from " + coming.report().source + " and is here now");
    if (state == DestinationState::Failed)
        failed(*coming.report().error);
}

void XenIncoming::failed(const Error& error)
{
    log::error("the incoming migration failed; the guest never ran here: " + error.text());
    const bool owes = session()->owes_an_answer();
    if (owes)
        log::warning("staying for 10 minutes, so that the source can learn that the guest is its");
    loop::post([this] { machine_.give_up(); }); // not from within the session
    end_timer_ =
        loop::after(owes ? owed_answer_time : last_words_time, [this] { callbacks_.end(1); });
}

void XenIncoming::handle(QmpRequest request, QmpResponder respond)
{
    const std::string& command = request.command;
    if (handle_tls(request, respond))
        return;
    if (command == "query-migrate")
        return respond(QmpResponse::ok(query_migrate()));
    if (command == "query-status") {
        const std::string state = run_state();
        return respond(QmpResponse::ok(
            Json{{"status", state}, {"running", state == "running"}, {"singlestep", false}}));
    }
    if (command == "migrate-incoming")
        return answer(respond, open_late(request.arguments));
    if (command == "migrate-set-capabilities") {
        set_capabilities(request.arguments);
        return respond(QmpResponse::ok());
    }
    if (command == "migrate-resolve") {
        const auto here = request.arguments.find("guest-is-here");
        if (here == request.arguments.end() || !here->is_boolean())
            return respond(QmpResponse::error("Parameter 'guest-is-here' is missing"));
        return answer(respond, session()
                                   ? session()->resolve(here->get<bool>())
                                   : fail(ErrorKind::Refused, "there is no migration to resolve"));
    }
    if (command == "quit") {
        Status may = may_end();
        if (may)
            end_soon(0);
        return answer(respond, may);
    }
    respond(
        QmpResponse::error("The command " + command + " has not been found", "CommandNotFound"));
}

void XenIncoming::set_capabilities(const Json& arguments)
{
    const auto list = arguments.find("capabilities");
    if (list == arguments.end() || !list->is_array())
        return;
    for (const Json& capability : *list)
        if (json_string(capability, "capability") == "events")
            events_ = json_bool(capability, "state");
}

Json XenIncoming::query_migrate() const
{
    Json info = session() ? migrate_info(*session()) : Json{{"status", "setup"}};
    if (door_ && door_->listening())
        info["socket-address"] = Json::array({socket_address(door_->listening()->address())});
    return info;
}

std::string XenIncoming::run_state() const
{
    if (!session() || session()->state() != DestinationState::Completed)
        return "inmigrate";
    return machine_.runs() ? "running" : "paused";
}

/// From Ready to the source's word the only copy of the guest may be ours.
Status XenIncoming::may_end() const
{
    const DestinationSession* coming = session();
    if (coming && (coming->state() == DestinationState::Ready ||
                   coming->state() == DestinationState::TakingOver))
        return fail(ErrorKind::Refused, "the guest is being handed over",
                    "migrate-resolve says whose it is");
    return {};
}

void XenIncoming::end_soon(int code)
{
    end_timer_ = loop::after(last_words_time, [this, code] { callbacks_.end(code); });
}

void XenIncoming::terminate()
{
    if (Status may = may_end(); !may)
        return log::warning("not ended: " + may.error().text());
    if (session())
        session()->give_up({ErrorKind::Cancelled, "the destination was ended", ""});
    end_soon(0);
}

void XenIncoming::defect_found(const Error& defect)
{
    if (session())
        session()->give_up(defect);
}

} // namespace drover
