// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "monitor/json.h"

#include <expected>
#include <functional>
#include <string>

namespace drover::balancer::cluster {

/// Why a command brought no return value.
struct DoorError {
    /// Refused: the host answered with an error. Lost: nobody can say whether it was carried out.
    enum class Kind { Refused, Lost };
    Kind kind = Kind::Lost;
    std::string error_class; ///< QMP's, of a refusal: "GenericError", "DeviceNotFound", …
    std::string text;

    [[nodiscard]] bool never_heard() const
    {
        return kind == Kind::Refused && error_class == "DeviceNotFound";
    }
};

/// One host's droverd, as it is spoken to (docs/balancer-qmp.md). Loop thread only.
class HostDoor {
public:
    using Answer = std::expected<Json, DoorError>;
    /// At most once, and never before execute() has returned; whoever asks sets a limit of its own
    /// to its patience.
    using Reply = std::function<void(Answer)>;

    virtual ~HostDoor() = default;
    [[nodiscard]] virtual bool is_up() const = 0;
    virtual void execute(const std::string& command, Json arguments, Reply reply) = 0;
};

/// The door of a host by its name; null where there is no such host (any more).
using DoorFinder = std::function<HostDoor*(const std::string& host)>;

} // namespace drover::balancer::cluster
