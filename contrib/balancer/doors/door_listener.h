// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/doors/address.h"
#include "contrib/balancer/doors/door.h"
#include "contrib/balancer/doors/tls_handshake.h"
#include "monitor/endpoint_socket.h"
#include "util/clock.h"
#include "util/loop.h"

#include <functional>
#include <list>
#include <memory>
#include <optional>

namespace drover::balancer {

/// Warnings that strangers can cause at will: at most one a second, the others are counted.
class QuietLog {
public:
    void warn(const std::string& text);

private:
    std::optional<TimePoint> last_;
    size_t swallowed_ = 0;
};

/// One door: accepts, finds out who it is, and hands the connection over. Loop thread only.
class DoorListener {
public:
    /// `fd` is for a QmpSession.
    using Arrived = std::function<void(UniqueFd fd, Identity who)>;

    [[nodiscard]] static Result<std::unique_ptr<DoorListener>>
    open(const DoorOptions& options, const DoorLimits& limits, Arrived arrived);

    [[nodiscard]] std::string address() const { return address_.text(); }

private:
    /// Somebody who has not finished the handshake.
    struct Knock {
        UniqueFd fd; // until its first byte came
        TimePoint began;
        loop::Source first_byte;
        loop::Source limit;
        std::unique_ptr<TlsHandshake> handshake;
        std::string peer; // for the log
    };
    using Knocks = std::list<Knock>;

    DoorListener(DoorAddress address, const DoorOptions& options, const DoorLimits& limits,
                 Arrived arrived);
    Status listen(const DoorOptions& options);
    void accept_on();
    void pause(std::chrono::milliseconds delay);
    void on_acceptable();
    bool make_room();
    void admit_local(UniqueFd fd);
    void knock(UniqueFd fd);
    void shake_hands(Knocks::iterator knock);
    void shaken(Knocks::iterator knock, Result<TlsPeer> peer);
    void forget(Knocks::iterator knock);

    DoorAddress address_;
    std::shared_ptr<TlsIdentity> identity_;
    DoorLimits limits_;
    Arrived arrived_;
    std::optional<ListeningSocket> listening_;
    loop::Source source_; // accepting, or waiting to accept again
    Knocks knocks_;       // the oldest first
    QuietLog log_;
};

} // namespace drover::balancer
