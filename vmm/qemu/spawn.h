// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "util/fd.h"
#include "util/result.h"
#include "vmm/qemu/process.h"

#include <sys/types.h>

namespace drover::qemu {

/// A child that has executed its program.
struct Spawned {
    pid_t pid = -1;
    UniqueFd pidfd;
    UniqueFd errors; ///< the reading end of its stderr, non-blocking
};

/// Forks and executes; a program that cannot be executed is an error here. QemuProcess is what
/// callers want.
[[nodiscard]] Result<Spawned> spawn_child(const SpawnRequest& request);

} // namespace drover::qemu
