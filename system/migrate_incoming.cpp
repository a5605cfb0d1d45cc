// SPDX-License-Identifier: GPL-2.0-or-later
//
// The migration that comes in.
#include "system/migrate_control.h"

#include "system/migrate_info.h"
#include "util/log.h"

#include <cmath>

namespace drover {

void MigrateControl::allow_incoming(const std::string& text,
                                    std::function<void(std::optional<std::string>)> done)
{
    incoming_deferred_ = true;
    if (text == "defer")
        return done(std::nullopt);
    migrate_incoming(Json{{"uri", text}}, [done = std::move(done)](const QmpResponse& response) {
        const auto error = response.body.find("error");
        done(error == response.body.end() ? std::nullopt
                                          : std::optional(json_string(*error, "desc")));
    });
}

void MigrateControl::migrate_incoming(const Json& arguments, const QmpResponder& respond)
{
    if (!incoming_deferred_ || native_.awaits_guest())
        return respond(QmpResponse::error(
            door_ || native_.in_charge() ? "The incoming migration has already been started"
                                         : "'-incoming' was not specified on the command line"));
    auto target = MigrateTarget::parse(arguments, descriptors_);
    if (!target)
        return respond(QmpResponse::error(target.error()));
    if (target->native) {
        descriptors_.used_by(arguments);
        return native_.migrate_incoming(arguments, !machine_.keeps_paused(), respond);
    }
    if (Status known = check_incoming_arguments(arguments); !known)
        return respond(QmpResponse::error(known.error()));
    if (Status can = settings_.check_capabilities(); !can)
        return respond(QmpResponse::error(can.error()));
    read_tls_credentials(
        qemu_, settings_.tls(), TlsWords::Endpoint::Server, {},
        [this, address = target->address, respond](Result<SharedTlsCredentials> tls) {
            answer(respond, tls ? open_door(address, std::move(*tls)) : pass(tls));
        });
}

Status MigrateControl::check_incoming_arguments(const Json& arguments)
{
    exits_on_error_ = true;
    for (const auto& [name, value] : arguments.items()) {
        const bool ours = name == "exit-on-error" && machine_.has_exit_on_error();
        if (!ours && name != "uri" && name != "channels")
            return fail(ErrorKind::Invalid, "Parameter '" + name + "' is unexpected");
        if (ours && !value.is_boolean())
            return fail(ErrorKind::Invalid,
                        "Invalid parameter type for 'exit-on-error', expected: boolean");
        if (ours)
            exits_on_error_ = value.get<bool>();
    }
    machine_.set_exits_on_error(exits_on_error_);
    return {};
}

Status MigrateControl::open_door(const MigrationAddress& address, SharedTlsCredentials tls)
{
    if (door_)
        return fail(ErrorKind::Refused, "The incoming migration has already been started");
    door_ = std::make_unique<IncomingDoor>(
        machine_, own_software, std::move(tls),
        IncomingDoor::Callbacks{
            .state_changed = [this](DestinationState state) { destination_changed(state); },
            .turned_away =
                [](const Error& error, const std::string& peer) {
                    log::warning("turned away " + peer + ": " + error.text());
                },
            .given_back = callbacks_.given_back,
        });
    if (address.kind == MigrationAddress::Kind::Fd) {
        auto fd = take_connection(address.fd_name);
        if (!fd) {
            door_.reset();
            return pass(fd);
        }
        door_->take(std::move(*fd), "fd:" + address.fd_name);
    } else if (Status listening = door_->listen(address); !listening) {
        door_.reset();
        return listening;
    }
    incoming_deferred_ = false;
    native_.forget();
    carry_bitmaps(true);
    send_status("setup");
    return {};
}

Json MigrateControl::query_incoming() const
{
    if (!door_)
        return Json::object();
    Json info = door_->session() ? migrate_info(*door_->session()) : Json{{"status", "setup"}};
    if (door_->listening()) // who asked for port 0 learns it here
        info["socket-address"] = Json::array({socket_address(door_->listening()->address())});
    const PageFetcher* fetcher = door_->session() ? door_->session()->fetcher() : nullptr;
    if (fetcher && settings_.capability("postcopy-blocktime")) {
        // Who waited is not known, only that somebody did.
        info["postcopy-blocktime"] = std::llround(fetcher->counters().waited_s * 1e3);
        info["postcopy-vcpu-blocktime"] = Json::array({info["postcopy-blocktime"]});
    }
    return info;
}

void MigrateControl::destination_changed(DestinationState state)
{
    const DestinationSession& session = *door_->session();
    if (state == DestinationState::TakingOver)
        machine_.set_activates_late(settings_.capability("late-block-activate"));
    send_status(migration_status(session));
    const bool is_back = state == DestinationState::Receiving && session.report().link_breaks > 0;
    if (is_back || state == DestinationState::Reconnecting)
        send_link(session.report().link_error);
    if (is_final(state))
        carry_bitmaps(false);
    if (state == DestinationState::Completed)
        log::info("the guest came from " + session.report().source + " and is here now");
    if (state == DestinationState::Failed)
        callbacks_.incoming_failed(*session.report().error);
}

} // namespace drover
