// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "util/result.h"
#include "vmm/qemu/command_line.h"

#include <string>

namespace drover::qemu {

struct IncomingPlan {
    bool present = false;
    std::string uri; ///< "defer", "tcp:…", "unix:…", "fd:…": not checked here
};

/// Takes -incoming out of the line. What newer QEMUs write as a channel, in JSON or as key=value,
/// is turned into the URI that means the same.
[[nodiscard]] Result<IncomingPlan> plan_incoming(CommandLine& line);

} // namespace drover::qemu
