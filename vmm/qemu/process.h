// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "vmm/qemu/become.h"
#include "vmm/qemu/exit_status.h"

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <sys/types.h>

namespace drover::qemu {

/// QEMU, seen from its companion, whose parent it is. It never outlives us: destroying this kills
/// it, and the preloaded library has the kernel kill it if we die. Its stderr is copied to ours.
/// Loop thread only.
class QemuProcess {
public:
    /// It has ended. `status` is nothing where nobody but its parent can know; `last_words` is the
    /// end of its stderr (at most 4 KiB). Called once, on the loop; may destroy the QemuProcess.
    /// Not called from the destructor.
    using Exited = std::function<void(std::optional<ExitStatus> status, std::string last_words)>;

    QemuProcess(StartedQemu qemu, Exited exited);
    ~QemuProcess();
    QemuProcess(const QemuProcess&) = delete;
    QemuProcess& operator=(const QemuProcess&) = delete;

    [[nodiscard]] pid_t pid() const;
    [[nodiscard]] int pidfd() const;
    [[nodiscard]] bool running() const;
    /// What it wrote to stderr last, so far.
    [[nodiscard]] const std::string& last_words() const;
    /// Sends a signal; does nothing once it has ended.
    void kill(int signal);
    /// Ends it at once, as SIGKILL would, but with the exit code 1: whoever waits for it takes that
    /// for a failure of the start, and not for a crash.
    void end_as_failed();

private:
    class Impl;
    std::unique_ptr<Impl> impl_;
};

} // namespace drover::qemu
