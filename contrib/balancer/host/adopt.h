// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/host/vm.h"

namespace drover::balancer {

/// The emulator that listens on the QMP socket `socket`, as a VM: its process by the socket's
/// credentials, its definition by its command line, what `more` says of it (expectations,
/// constraints, `name`) put over that. Blocks for a moment.
[[nodiscard]] Result<VmRecord> adopt_emulator(const std::string& socket, const Json& more);

/// The definition of a running emulator's command line: its words but for the monitor at `socket`,
/// -name, -incoming, -daemonize, -pidfile, which belong to this one process. A line that uses
/// inherited descriptors cannot be started elsewhere, and is refused.
[[nodiscard]] Result<VmDefinition> definition_of(const std::vector<std::string>& words,
                                                 const std::string& socket);

} // namespace drover::balancer
