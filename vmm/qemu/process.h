// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "util/fd.h"
#include "util/result.h"

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <sys/types.h>
#include <utility>
#include <vector>

namespace drover::qemu {

struct ExitStatus {
    int code = 0;   ///< the exit code, if signal is 0
    int signal = 0; ///< the signal that killed it, or 0

    [[nodiscard]] bool success() const { return signal == 0 && code == 0; }
    [[nodiscard]] std::string text() const; ///< "exited with code 1", "was killed by SIGKILL"
};

/// What to run. Descriptors that Drover opened are closed on exec, but for `keep_fds`, which keep
/// their numbers; those inherited from our own parent stay open.
struct SpawnRequest {
    std::string binary;
    std::vector<std::string> arguments; ///< argv[1]…
    std::vector<int> keep_fds;
    std::vector<std::pair<std::string, std::string>> environment; ///< added to, or replacing, ours
    bool null_stdio = false; ///< stdin and stdout are /dev/null: Drover uses its own, or has none
};

/// QEMU as our child. It never outlives us: destroying this kills it, and the kernel kills it if we
/// die. Its stderr is copied to ours. Main thread only, which must be the loop thread: the kernel
/// ties the child to the thread that made it.
class QemuProcess {
public:
    /// The child has ended and is reaped; `last_words` is the end of its stderr (at most 4 KiB).
    /// Called once, on the loop; may destroy the QemuProcess. Not called from the destructor.
    using Exited = std::function<void(ExitStatus status, std::string last_words)>;

    [[nodiscard]] static Result<std::unique_ptr<QemuProcess>> spawn(const SpawnRequest& request,
                                                                    Exited exited);
    ~QemuProcess();
    QemuProcess(const QemuProcess&) = delete;
    QemuProcess& operator=(const QemuProcess&) = delete;

    [[nodiscard]] pid_t pid() const;
    [[nodiscard]] bool running() const;
    /// What it wrote to stderr last, so far.
    [[nodiscard]] const std::string& last_words() const;
    /// Sends a signal; does nothing once it has ended.
    void kill(int signal);

private:
    class Impl;
    explicit QemuProcess(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

} // namespace drover::qemu
