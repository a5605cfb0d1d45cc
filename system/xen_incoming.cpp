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
    door_ = std::make_unique<IncomingDoor>(
        machine_, own_software, nullptr,
        IncomingDoor::Callbacks{
            .state_changed = [this](DestinationState state) { changed(state); },
            .turned_away =
                [](const Error& error, const std::string& peer) {
                    log::warning("turned away " + peer + ": " + error.text());
                },
            .given_back = [] {},
        });
    return address ? door_->listen(*address) : Status();
}

Status XenIncoming::open_late(const Json& arguments)
{
    if (door_->listening() || door_->session())
        return fail(ErrorKind::Refused, "the guest is waited for already");
    auto address = MigrationAddress::parse(json_string(arguments, "uri"));
    return address ? door_->listen(*address) : Status(pass(address));
}

void XenIncoming::changed(DestinationState state)
{
    const DestinationSession& session = *door_->session();
    const std::string status = migration_status(session);
    if (std::exchange(last_status_, status) != status && events_)
        server_->broadcast(make_event("MIGRATION", Json{{"status", status}}));
    if (state == DestinationState::Completed)
        log::info("the guest came from " + session.report().source + " and is here now");
    if (state == DestinationState::Failed)
        failed(*session.report().error);
}

void XenIncoming::failed(const Error& error)
{
    log::error("the incoming migration failed; the guest never ran here: " + error.text());
    const bool owes = door_->session()->owes_an_answer();
    if (owes)
        log::warning("staying for 10 minutes, so that the source can learn that the guest is its");
    loop::post([this] { machine_.give_up(); }); // not from within the session
    end_timer_ =
        loop::after(owes ? owed_answer_time : last_words_time, [this] { callbacks_.end(1); });
}

void XenIncoming::handle(QmpRequest request, QmpResponder respond)
{
    const std::string& command = request.command;
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
        return answer(respond, door_->session()
                                   ? door_->session()->resolve(here->get<bool>())
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
    Json info = door_->session() ? migrate_info(*door_->session()) : Json{{"status", "setup"}};
    if (door_->listening())
        info["socket-address"] = Json::array({socket_address(door_->listening()->address())});
    return info;
}

std::string XenIncoming::run_state() const
{
    if (!door_->session() || door_->session()->state() != DestinationState::Completed)
        return "inmigrate";
    return machine_.runs() ? "running" : "paused";
}

/// From Ready to the source's word the only copy of the guest may be ours.
Status XenIncoming::may_end() const
{
    const DestinationSession* session = door_->session();
    if (session && (session->state() == DestinationState::Ready ||
                    session->state() == DestinationState::TakingOver))
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
    if (DestinationSession* session = door_->session())
        session->give_up({ErrorKind::Cancelled, "the destination was ended", ""});
    end_soon(0);
}

void XenIncoming::defect_found(const Error& defect)
{
    if (door_ && door_->session())
        door_->session()->give_up(defect);
}

} // namespace drover
