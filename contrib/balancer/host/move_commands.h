// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/host/vm_definition.h"

namespace drover::balancer {

struct EmulatorCommand {
    std::string name;
    Json arguments;
    bool may_fail = false;
};

/// What the source's emulator is told before `migrate`, so that it moves by `policy`
/// (-migrate-policy's words; empty: as it is). Drover is told the policy; stock QEMU gets the
/// nearest that its own migration has: downtime-limit, max-bandwidth, and auto-converge up to
/// max-slowdown.
[[nodiscard]] Result<std::vector<EmulatorCommand>>
commands_before_migrate(VmKind kind, const std::string& policy);

/// Whether nobody listens on this TCP port of this host (a look, no promise).
[[nodiscard]] bool port_is_free(unsigned port);

} // namespace drover::balancer
