// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "monitor/qmp_server.h"
#include "util/result.h"
#include "vmm/qemu/command_line.h"

#include <string_view>
#include <vector>

namespace drover::qemu {

/// Takes the QMP monitors (-qmp, -qmp-pretty, -mon mode=control or -object monitor-qmp with its
/// -chardev) out of the command line. Human monitors stay; a default one, which QEMU would no
/// longer make once it gets a monitor of ours, is spelled out.
[[nodiscard]] Result<std::vector<MonitorEndpoint>> plan_monitors(CommandLine& line);

/// Whether QEMU itself will read standard input: it can serve one only.
[[nodiscard]] bool uses_stdio(const CommandLine& line);

} // namespace drover::qemu
