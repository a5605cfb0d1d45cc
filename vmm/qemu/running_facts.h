// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "monitor/qmp_client.h"
#include "vmm/qemu/blockers.h"

#include <functional>
#include <sys/types.h>

namespace drover::qemu {

/// Asks the running QEMU, and the kernel about it, what it has. What it cannot tell in its version
/// stays empty; it fails only where QEMU does not answer any more. The result is not called when
/// `qmp` is destroyed before.
void ask_running(QmpClient& qmp, pid_t pid, std::function<void(Result<RunningFacts>)> done);

} // namespace drover::qemu
