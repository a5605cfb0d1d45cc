// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "monitor/json.h"
#include "util/result.h"

#include <functional>
#include <string>

namespace drover::qemu {

/// A command of a QEMU's monitor.
using ExecuteCommand = std::function<void(const std::string& command, Json arguments,
                                          std::function<void(const Result<Json>&)> done)>;

/// Takes over (and locks) all disk images of a guest that does not run, and is not to.
///
/// Images change hands with the guest. QEMU opens those of an incoming guest inactive, and gives
/// its own up when its migration has completed; "cont" takes them. A guest that is not to run must
/// own its images all the same, or the next migration aborts QEMU 7.2, which gives up what it has
/// not. Where `execute` calls nothing back any more, nothing is called here.
void activate_disks(const ExecuteCommand& execute, std::function<void(Status)> done);

} // namespace drover::qemu
