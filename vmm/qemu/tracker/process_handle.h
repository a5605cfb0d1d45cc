// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "util/fd.h"
#include "util/result.h"

#include <sys/types.h>

namespace drover {

/// A process by a descriptor: once it is dead and reaped its number may be another's, so
/// nothing here goes by the number alone.
class ProcessHandle {
public:
    /// `pid` must not have been reaped yet: QEMU, whose end the loop thread has not been told of.
    [[nodiscard]] static Result<ProcessHandle> open(pid_t pid);

    [[nodiscard]] pid_t pid() const { return pid_; }
    [[nodiscard]] int pidfd() const { return pidfd_.get(); }
    [[nodiscard]] bool has_ended() const;
    /// Opens /proc/PID/NAME: this process's, or it fails.
    [[nodiscard]] Result<UniqueFd> open_file(const char* name, int flags) const;

private:
    ProcessHandle(pid_t pid, UniqueFd pidfd) : pid_(pid), pidfd_(std::move(pidfd)) {}
    pid_t pid_;
    UniqueFd pidfd_;
};

} // namespace drover
