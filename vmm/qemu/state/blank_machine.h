// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "util/fd.h"
#include "util/result.h"

#include <string>
#include <vector>

namespace drover::qemu {

/// Starts a QEMU with this command line (program first), stopped before its guest's first
/// instruction, and has it save itself: its stream, which describes itself, tells how the machine
/// that is to take a guest has its devices' fields. Returns the file, which has no name. Its disks
/// are opened as ever, so that no other may have them at that time. Runs the default main context
/// until then, 30 s at most.
[[nodiscard]] Result<UniqueFd> save_blank_machine(std::vector<std::string> command);

} // namespace drover::qemu
