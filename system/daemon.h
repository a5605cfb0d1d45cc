// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "util/fd.h"
#include "util/result.h"

#include <string>
#include <sys/types.h>

namespace drover {

/// -daemonize: the process that was started waits until the guest is up, then exits; the guest
/// lives in a descendant without a terminal. Main thread, before any other thread exists.
class Daemon {
public:
    /// Forks twice; returns in the grandchild only. The process that was started exits with 0 when
    /// ready() is called, or with 1 when the grandchild ends before.
    [[nodiscard]] static Result<Daemon> detach();

    /// Lets the parent go; from now on nothing is written to the terminal.
    void ready();

private:
    explicit Daemon(UniqueFd parent) : parent_(std::move(parent)) {}
    UniqueFd parent_;
};

/// -pidfile: QEMU writes and locks it itself, and removes it when it ends by itself. Drover says
/// before whether that will do, and removes what a QEMU leaves that was killed.
class PidFile {
public:
    /// Creates it, for QEMU to write. Refused if another living process holds it.
    [[nodiscard]] static Result<PidFile> create(const std::string& path);
    PidFile(PidFile&&) noexcept = default;
    PidFile& operator=(PidFile&&) noexcept = default;

    /// The process that was to hold it has ended. Another's is left alone.
    void remove(pid_t holder) const;

private:
    explicit PidFile(std::string path) : path_(std::move(path)) {}
    std::string path_; ///< absolute: a daemon changes its directory
};

} // namespace drover
