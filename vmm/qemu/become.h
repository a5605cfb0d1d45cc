// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "util/fd.h"
#include "util/result.h"
#include "vmm/qemu/saved_terminal.h"

#include <string>
#include <sys/types.h>
#include <utility>
#include <vector>

namespace drover::qemu {

/// What to run. Descriptors that Drover opened are closed on exec, but for `keep_fds`, which keep
/// their numbers; those inherited from our own parent stay open.
struct QemuStart {
    std::string binary;
    std::vector<std::string> arguments; ///< argv[1]…
    std::vector<int> keep_fds;
    std::vector<std::pair<std::string, std::string>> environment; ///< added to, or replacing, ours
    bool null_stdio = false; ///< stdin and stdout are /dev/null: Drover uses its own, or has none
};

/// The process that was started, which runs QEMU by now.
struct StartedQemu {
    pid_t pid = -1;
    UniqueFd pidfd;
    UniqueFd errors;   ///< the reading end of its stderr, non-blocking
    UniqueFd farewell; ///< see farewell_variable; may be none
    SavedTerminal terminal;
};

/// Makes QEMU of this process, so that all that is asked of the process that was started (its
/// processor time, memory, limits, exit status) is asked of the guest, and goes on in a fork of it,
/// the companion: only there it returns, once QEMU's program runs. What fails before the fork is an
/// error in the process that was started; a program that cannot be executed is one in the
/// companion, and the process that was started ends with 1 after it.
///
/// Nobody may have made a thread before: it would be lacking in the companion, and die here.
[[nodiscard]] Result<StartedQemu> become_qemu(const QemuStart& start);

} // namespace drover::qemu
