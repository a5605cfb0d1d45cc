// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/doors/command_table.h"
#include "contrib/balancer/doors/tls_identity.h"

#include <chrono>
#include <memory>
#include <string>
#include <sys/types.h>

namespace drover::balancer {

struct DoorOptions {
    std::string address; ///< "unix:PATH" or "tls:HOST:PORT"; port 0: any that is free
    mode_t mode = 0660;  ///< of a UNIX socket's file
    std::string group;   ///< its group, a name or a number; empty: our own
    std::shared_ptr<TlsIdentity> identity; ///< for tls:
};

/// Each door's own.
struct DoorLimits {
    size_t clients = 64;    ///< connections of those who may at most observe
    size_t reserved = 16;   ///< more places, for those who may operate or administer
    size_t handshakes = 16; ///< unfinished ones; more callers wait in the kernel's queue
    std::chrono::milliseconds handshake = std::chrono::seconds(10); ///< from accept to its end
    /// What an unfinished handshake is left once others wait because of the limit.
    std::chrono::milliseconds patience = std::chrono::seconds(2);
};

/// Serves QMP on any number of doors, to any number of clients at a time, each with its role: on a
/// UNIX socket by the peer's uid (ours and root's administer, others observe), on TLS by the
/// certificate, which must be of the fleet's authority and for clients (clientAuth). Somebody whose
/// certificate names no role gets in, and is told so at each command. Roles are settled when the
/// connection is made: a certificate that expires later ends nothing. A client that sends 64 MiB
/// without a complete command, or leaves 64 MiB of answers and events unread, is dropped; nobody
/// else notices. Loop thread only.
class DoorServer {
public:
    /// `greeting`: see make_greeting(). `handler` must outlive the server.
    DoorServer(Json greeting, RoleHandler& handler, DoorLimits limits = {});
    ~DoorServer();
    DoorServer(const DoorServer&) = delete;
    DoorServer& operator=(const DoorServer&) = delete;

    /// Opens a door, and returns its address with the port that it has. Looking a host name up may
    /// block. Of a UNIX socket the file is removed at the end, and one that a dead daemon left is
    /// replaced. That our own certificate has expired is a warning only: a renewed one serves.
    [[nodiscard]] Result<std::string> add(const DoorOptions& options);

    /// To each client that has negotiated and may observe.
    void broadcast(const Json& event);

    [[nodiscard]] size_t clients() const;

private:
    class Impl;
    std::unique_ptr<Impl> impl_;
};

} // namespace drover::balancer
