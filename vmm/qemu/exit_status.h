// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <optional>
#include <string>
#include <sys/types.h>

namespace drover::qemu {

struct ExitStatus {
    int code = 0;   ///< the exit code, if signal is 0
    int signal = 0; ///< the signal that killed it, or 0

    [[nodiscard]] bool success() const { return signal == 0 && code == 0; }
    [[nodiscard]] std::string text() const; ///< "exited with code 1", "was killed by SIGKILL"
};

/// How a process that has ended did so, as far as one that is not its parent can know: while it is
/// a zombie, and afterwards from Linux 6.15 on. `pidfd` says that `pid` is still its number.
[[nodiscard]] std::optional<ExitStatus> exit_status_of(pid_t pid, int pidfd);

} // namespace drover::qemu
