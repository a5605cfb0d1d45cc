// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/session/incoming_door.h"

#include "util/log.h"
#include "util/loop.h"

#include <algorithm>

namespace drover {

using stream::FrameType;

namespace {
constexpr std::chrono::milliseconds preamble_timeout{5'000};
constexpr size_t max_guests = 256; ///< connections that have not said what they are
/// Who asks, or opens a tunnel, has a reason to: it says so at once.
constexpr std::chrono::milliseconds speech_timeout{10'000};
} // namespace

struct IncomingDoor::Guest {
    std::string peer;
    std::unique_ptr<TlsHandshake> handshake;
    std::unique_ptr<stream::PreambleReading> reading;
    std::unique_ptr<stream::FrameConnection> asking;
    loop::Source timer;         ///< it asks, and has not named the session yet
    bool known = false;         ///< it has
    bool may_commit = false;    ///< it has named the session, and was told that it is ready
    bool may_cancel = false;    ///< likewise, or that it is waited for
    bool may_resume = false;    ///< likewise, and was told that pages are missing, or awaited
    bool may_take_back = false; ///< likewise, and was told that the guest is ours
    bool sends_pages = false;   ///< likewise, and was asked for some
    std::shared_ptr<bool> here = std::make_shared<bool>(true);
};

IncomingDoor::IncomingDoor(Machine& machine, std::string software, SharedTlsCredentials tls,
                           Callbacks callbacks)
    : machine_(machine), software_(std::move(software)), tls_(std::move(tls)),
      callbacks_(std::move(callbacks))
{
}

IncomingDoor::~IncomingDoor()
{
    *alive_ = false;
}

Status IncomingDoor::listen(const MigrationAddress& address)
{
    auto listening = listen_on(address, [this](UniqueFd socket, std::string peer) {
        take(std::move(socket), std::move(peer));
    });
    if (!listening)
        return pass(listening);
    listening_ = std::move(*listening);
    return {};
}

void IncomingDoor::take(UniqueFd socket, std::string peer)
{
    if (!tls_)
        return admit(std::move(socket), std::move(peer));
    const auto guest = make_room(std::move(peer));
    if (!guest)
        return;
    (*guest)->handshake =
        shake_hands(std::move(socket), tls_, preamble_timeout,
                    [this, guest](Result<Socket> safe) { read_preamble(*guest, std::move(safe)); });
}

/// What has passed all that a connection has to pass.
void IncomingDoor::admit(Socket socket, std::string peer)
{
    if (const auto guest = make_room(std::move(peer)))
        read_preamble(*guest, std::move(socket));
}

/// In a flood the longest here that has said nothing yet goes. Whoever is no stranger says who he
/// is at once, so that a source whose link broke gets in, however many strangers stand about.
std::optional<std::list<IncomingDoor::Guest>::iterator> IncomingDoor::make_room(std::string peer)
{
    if (guests_.size() >= max_guests) {
        const auto idle = std::ranges::find_if(
            guests_, [](const Guest& guest) { return *guest.here && !guest.known; });
        if (idle == guests_.end())
            return std::nullopt;
        idle->handshake.reset();
        idle->reading.reset();
        idle->asking.reset();
        forget(idle);
    }
    const auto guest = guests_.emplace(guests_.end());
    guest->peer = std::move(peer);
    return guest;
}

void IncomingDoor::read_preamble(std::list<Guest>::iterator guest, Result<Socket> socket)
{
    if (!socket) {
        callbacks_.turned_away(socket.error(), guest->peer);
        return forget(guest);
    }
    guest->reading = stream::read_preamble_async(
        std::move(*socket), preamble_timeout,
        [this, guest](Result<stream::Greeted> result) { greeted(guest, std::move(result)); });
}

void IncomingDoor::forget(std::list<Guest>::iterator guest)
{
    if (!std::exchange(*guest->here, false))
        return;
    loop::post([this, alive = alive_, guest] { // not from within the guest's own callback
        if (*alive)
            guests_.erase(guest);
    });
}

void IncomingDoor::greeted(std::list<Guest>::iterator guest, Result<stream::Greeted> result)
{
    if (!result) {
        callbacks_.turned_away(result.error(), guest->peer);
        return forget(guest);
    }
    switch (result->role) {
    case stream::ConnectionRole::Control:
        open_session(std::move(result->socket), guest->peer);
        return forget(guest);
    case stream::ConnectionRole::Data:
        if (session_)
            session_->add_data(std::move(result->socket));
        return forget(guest);
    case stream::ConnectionRole::Ask: return open_ask(guest, std::move(result->socket));
    case stream::ConnectionRole::Probe: open_probe(std::move(result->socket), guest->peer); break;
    case stream::ConnectionRole::Tunnel: open_tunnel(std::move(result->socket), guest->peer); break;
    }
    forget(guest);
}

void IncomingDoor::open_session(Socket socket, const std::string& peer)
{
    if (session_) {
        const Error busy{ErrorKind::Refused, "a migration is coming in already",
                         "start another destination"};
        auto connection = std::make_unique<stream::FrameConnection>(
            std::move(socket), stream::ConnectionRole::Control, false, false,
            stream::FrameConnection::Callbacks{[](const stream::Frame&) {}, [](const Error&) {}});
        connection->send_json(FrameType::Refuse, stream::error_to_json(busy));
        stream::FrameConnection::close_gracefully(std::move(connection));
        callbacks_.turned_away(busy, peer);
        return;
    }
    probe_.reset(); // it asks the machine things that are the session's from now on
    session_ = std::make_unique<DestinationSession>(
        machine_, std::move(socket), peer, software_,
        DestinationObserver{
            .state_changed = callbacks_.state_changed,
            .refused =
                [this, peer](const Error& error) {
                    callbacks_.turned_away(error, peer);
                    loop::post([this, alive = alive_] { // not from within the session's callback
                        if (*alive)
                            session_.reset();
                    });
                },
            .given_back = callbacks_.given_back,
        });
}

/// Somebody thinks of migrating to here. A migration is not to be disturbed by that.
void IncomingDoor::open_probe(Socket socket, const std::string& peer)
{
    if (session_ || probe_)
        return;
    log::debug("probed by " + peer);
    probe_ = std::make_unique<ProbeAnswer>(std::move(socket), machine_, [this] {
        loop::post([this, alive = alive_] { // not from within its own callback
            if (*alive)
                probe_.reset();
        });
    });
}

/// A source that was given one connected socket: what it carries comes in by the same door.
void IncomingDoor::open_tunnel(Socket socket, const std::string& peer)
{
    if (tunnel_)
        return callbacks_.turned_away(
            {ErrorKind::Refused, "a migration comes in over another tunnel already", ""}, peer);
    tunnel_timer_ = loop::after(speech_timeout, [this, peer] {
        if (session_ || !tunnel_)
            return;
        callbacks_.turned_away({ErrorKind::Protocol, "no Hello came over the tunnel in 10 s", ""},
                               peer);
        tunnel_.reset();
    });
    tunnel_ = std::make_unique<stream::Tunnel>(
        std::move(socket), false,
        stream::Tunnel::Callbacks{
            .opened = [this, peer](UniqueFd end) { admit(std::move(end), peer); },
            .closed =
                [this](const Error&) {
                    loop::post([this, alive = alive_] { // not from within its own callback
                        if (*alive)
                            tunnel_.reset();
                    });
                },
        });
}

void IncomingDoor::open_ask(std::list<Guest>::iterator guest, Socket socket)
{
    guest->asking = std::make_unique<stream::FrameConnection>(
        std::move(socket), stream::ConnectionRole::Ask, false, false,
        stream::FrameConnection::Callbacks{
            .frame = [this, guest](const stream::Frame& frame) { ask_frame(guest, frame); },
            .closed = [this, guest](const Error&) { forget(guest); },
        });
    guest->asking->expect_only(
        {FrameType::Ask, FrameType::Commit, FrameType::Abort, FrameType::Resume});
    guest->timer = loop::after(speech_timeout, [this, guest] { forget(guest); });
}

/// From now on the connection is the session's.
void IncomingDoor::resume(std::list<Guest>::iterator guest)
{
    guest->asking->hold_input(true);
    loop::post([this, alive = alive_, guest, here = guest->here] { // not from within its callback
        if (!*alive || !*here)
            return;
        auto connection = std::move(guest->asking);
        connection->expect_anything();
        forget(guest);
        if (session_)
            session_->resume(std::move(connection));
    });
}

/// Used only by a session that the guest has named.
DestinationSession::AskForPages IncomingDoor::page_asker(std::list<Guest>::iterator guest)
{
    return [guest, here = guest->here](const stream::PageRequest& request) {
        if (!*here)
            return;
        if (!std::exchange(guest->sends_pages, true)) {
            guest->known = true;
            guest->timer.reset();
            guest->asking->expect_only({FrameType::Ask, FrameType::Commit, FrameType::Abort,
                                        FrameType::Resume, FrameType::Pages});
        }
        guest->asking->send(FrameType::PageRequest, stream::encode(request));
    };
}

void IncomingDoor::ask_frame(std::list<Guest>::iterator guest, const stream::Frame& frame)
{
    if (frame.header.type == FrameType::Ask &&
        frame.payload.size() == std::tuple_size_v<stream::SessionToken>) {
        stream::SessionToken token;
        std::copy(frame.payload.begin(), frame.payload.end(), token.begin());
        auto answer = [guest, here = guest->here](stream::Outcome outcome) {
            if (!*here)
                return;
            guest->known = outcome != stream::Outcome::Unknown;
            if (guest->known)
                guest->timer.reset();
            guest->may_commit = outcome == stream::Outcome::Ready;
            guest->may_resume =
                outcome == stream::Outcome::Postcopy || outcome == stream::Outcome::Receiving;
            guest->may_cancel =
                outcome == stream::Outcome::Ready || outcome == stream::Outcome::Receiving;
            guest->may_take_back =
                outcome == stream::Outcome::Committed || outcome == stream::Outcome::Arrived;
            guest->asking->send(FrameType::Outcome,
                                stream::encode_u32(static_cast<uint32_t>(outcome)));
        };
        return session_ ? session_->asked(token, std::move(answer), page_asker(guest))
                        : answer(stream::Outcome::Unknown);
    }
    if (frame.header.type == FrameType::Pages && session_ && guest->sends_pages)
        if (Status taken = session_->take_pages(frame); !taken)
            return forget(guest); // it will call, and may send them once more
    // Only who knows the session's token may commit: else a stranger could start a second copy.
    if (frame.header.type == FrameType::Commit && session_ && guest->may_commit)
        session_->commit(
            [this, guest, here = guest->here](FrameType answer) {
                if (*here)
                    session_->answer(*guest->asking, answer);
            },
            page_asker(guest));
    if (frame.header.type == FrameType::Resume && guest->may_resume)
        resume(guest);
    if (frame.header.type == FrameType::Abort && session_ && guest->may_take_back)
        session_->give_back([this, guest, here = guest->here](FrameType answer) {
            if (*here)
                session_->answer(*guest->asking, answer);
        });
    // The source took the guest back, and calls to say so.
    if (frame.header.type == FrameType::Abort && session_ && guest->may_cancel)
        session_->fail(
            {ErrorKind::Connection, "the link broke, and the source took the guest back", ""});
}

} // namespace drover
