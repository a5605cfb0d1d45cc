// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "util/fd.h"
#include "util/result.h"

#include <string>

namespace drover {

/// -daemonize: the process that was started waits until the guest is up, then exits; the guest
/// lives in a child without a terminal. Main thread, before any other thread exists.
class Daemon {
public:
    /// Forks; returns in the child only. The parent exits with 0 when ready() is called, or with 1
    /// when the child ends before.
    [[nodiscard]] static Result<Daemon> detach();

    /// Lets the parent go; from now on nothing is written to the terminal.
    void ready();

private:
    explicit Daemon(UniqueFd parent) : parent_(std::move(parent)) {}
    UniqueFd parent_;
};

/// -pidfile: holds our process id, is locked as long as we live, and goes with us.
class PidFile {
public:
    PidFile() = default;
    /// Refused if another living process holds it.
    [[nodiscard]] static Result<PidFile> create(const std::string& path);
    PidFile(PidFile&&) noexcept = default;
    PidFile& operator=(PidFile&&) noexcept = default;
    ~PidFile();

private:
    UniqueFd fd_;
    std::string path_;
};

} // namespace drover
