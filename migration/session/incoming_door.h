// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/session/destination.h"
#include "migration/session/link_probe.h"
#include "migration/stream/tunnel.h"
#include "migration/transport/tls_handshake.h"

#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>

namespace drover {

/// Where migrations come in: listens, finds out what each connection is, and leads it to the one
/// session. Strangers and refused hellos are told why and do not disturb it. It stays open to the
/// end, so that a source whose link broke at the switchover can ask. Loop thread only.
class IncomingDoor {
public:
    struct Callbacks {
        std::function<void(DestinationState)> state_changed;
        /// A peer was turned away; the door stays open.
        std::function<void(const Error&, const std::string& peer)> turned_away;
        /// See DestinationObserver.
        std::function<void()> given_back = [] {};
    };

    /// `tls`: what each connection has to pass before anything else; null: all are in the clear.
    IncomingDoor(Machine& machine, std::string software, SharedTlsCredentials tls,
                 Callbacks callbacks);
    ~IncomingDoor();
    IncomingDoor(const IncomingDoor&) = delete;
    IncomingDoor& operator=(const IncomingDoor&) = delete;

    /// Opens it at a tcp: or unix: address; once.
    [[nodiscard]] Status listen(const MigrationAddress& address);
    /// Takes one connection made by somebody else (fd:).
    void take(UniqueFd socket, std::string peer);

    /// Null until a control connection came.
    [[nodiscard]] DestinationSession* session() { return session_.get(); }
    [[nodiscard]] const Listening* listening() const { return listening_.get(); }

private:
    struct Guest; ///< a connection that has not said yet what it is, or that asks

    [[nodiscard]] std::optional<std::list<Guest>::iterator> make_room(std::string peer);
    void admit(Socket socket, std::string peer);
    void read_preamble(std::list<Guest>::iterator guest, Result<Socket> socket);
    void greeted(std::list<Guest>::iterator guest, Result<stream::Greeted> greeted);
    void open_session(Socket socket, const std::string& peer);
    void open_probe(Socket socket, const std::string& peer);
    void open_tunnel(Socket socket, const std::string& peer);
    void open_ask(std::list<Guest>::iterator guest, Socket socket);
    void resume(std::list<Guest>::iterator guest);
    [[nodiscard]] static DestinationSession::AskForPages
    page_asker(std::list<Guest>::iterator guest);
    void ask_frame(std::list<Guest>::iterator guest, const stream::Frame& frame);
    void forget(std::list<Guest>::iterator guest);

    Machine& machine_;
    std::string software_;
    SharedTlsCredentials tls_;
    Callbacks callbacks_;
    std::unique_ptr<Listening> listening_;
    loop::Source tunnel_timer_;              ///< until a Hello comes over it
    std::unique_ptr<stream::Tunnel> tunnel_; ///< fd: carries the session's connections
    std::unique_ptr<DestinationSession> session_;
    std::unique_ptr<ProbeAnswer> probe_; ///< one at a time, and none beside a session
    std::list<Guest> guests_;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

} // namespace drover
