// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "monitor/json.h"
#include "util/fd.h"

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace drover {

/// The descriptors that "fd:NAME" may mean: named by QMP's getfd, or inherited from our parent
/// (fd:NUMBER).
///
/// A descriptor is kept only where Drover itself may need it, that is a connected stream socket,
/// and only as long as nobody else has used its name. Whoever gave us a pipe, a file or a tap waits
/// for its last holder to close it: a copy kept here makes "virsh save" hang, and leaves the tap
/// of an unplugged NIC on its bridge. QEMU has its own copy of everything.
class NamedDescriptors {
public:
    enum class Kind {
        Connection, ///< a connected stream socket: for Drover's own migration
        Other,      ///< a pipe, a file, a tap, …: for QEMU
    };

    /// getfd gave this name.
    void name(const std::string& name, UniqueFd fd);
    /// closefd, or QEMU's use of the name.
    void forget(const std::string& name);
    /// A command that QEMU carries out: names that it mentions are QEMU's from now on.
    void used_by(const Json& arguments);

    /// Sorts what our parent left open, before QEMU is started: connected sockets that the command
    /// line does not mention are Drover's and are not for QEMU; all else is for QEMU.
    void inherit(const std::set<int>& numbers, const std::vector<std::string>& command_line);
    /// QEMU was started, and has what is for it.
    void close_what_is_qemus();

    [[nodiscard]] std::optional<Kind> kind(const std::string& name) const;

    struct Taken {
        UniqueFd fd;
        bool named = false; ///< by getfd: QEMU has a copy under this name, which must be closed
    };
    /// A connection, for Drover.
    [[nodiscard]] Result<Taken> take(const std::string& name);

private:
    struct Entry {
        Kind kind = Kind::Other;
        UniqueFd fd; ///< Connection only, but for what waits for close_what_is_qemus()
        bool named = false;
    };
    std::map<std::string, Entry> entries_;
};

} // namespace drover
