// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/doors/role.h"
#include "monitor/qmp_schema.h"
#include "monitor/qmp_server.h"

#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace drover::balancer {

/// Who asks.
struct Client {
    uint64_t id = 0; ///< unique for each connection of a DoorServer
    Role role = Role::None;
    std::string name; ///< its certificate's CN, or "uid N"; for logs and journals
};

/// Loop thread only.
class RoleHandler {
public:
    virtual ~RoleHandler() = default;
    /// `respond` is to be called exactly once, now or later, as QmpHandler's.
    virtual void handle(QmpRequest request, const Client& client, QmpResponder respond) = 0;
    virtual void client_gone(uint64_t /*client*/) {}
};

/// The commands of a daemon: checks role and arguments before it calls a command's function.
class CommandTable : public RoleHandler {
public:
    /// `arguments` is an object that has passed the check. What the function throws becomes the
    /// answer, unless it has answered before.
    using Function =
        std::function<void(const Json& arguments, const Client& client, QmpResponder respond)>;

    /// Has query-commands and query-version (role: observe) from the beginning. `version` is the
    /// "version" object of the greeting, see make_greeting().
    explicit CommandTable(Json version);

    /// `arguments` as OwnCommand's, with the types "object" and "list" besides; an optional one
    /// ends in '?', and null does not stand for its absence. A second command of the same name
    /// replaces the first.
    void add(const std::string& name, Role least,
             std::vector<std::pair<std::string, std::string>> arguments, Function function);

    void handle(QmpRequest request, const Client& client, QmpResponder respond) override;

    /// With the role that each takes: {"name": …, "role": …}, by name.
    [[nodiscard]] Json list() const;

private:
    struct Command {
        OwnCommand form;
        Role least = Role::Administer;
        Function function;
    };

    std::map<std::string, Command> commands_;
};

/// The "QMP" object that a daemon greets with: its version, and `program` as the package.
[[nodiscard]] Json make_greeting(const std::string& program);

} // namespace drover::balancer
