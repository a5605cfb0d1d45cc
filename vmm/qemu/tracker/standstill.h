// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "util/result.h"

#include <sys/types.h>

namespace drover {

/// Holds a child process still. SIGSTOP returns before the threads have stopped; the parent's
/// waitid(WSTOPPED) returns when the last of them has, and so no page is lost between.
class Standstill {
public:
    explicit Standstill(pid_t pid) : pid_(pid) {}
    ~Standstill();
    Standstill(const Standstill&) = delete;
    Standstill& operator=(const Standstill&) = delete;

    /// From its return until the destructor none of its threads runs.
    [[nodiscard]] Status begin();

private:
    pid_t pid_;
    bool stopped_ = false;
};

} // namespace drover
