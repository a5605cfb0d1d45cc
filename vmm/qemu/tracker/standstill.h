// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "util/result.h"

#include <chrono>

namespace drover {

/// Holds a child process still. SIGSTOP returns before the threads have stopped; the parent's
/// waitid(WSTOPPED) returns when the last of them has, and so no page is lost between.
///
/// A thread that waits in the kernel (a slow disk, a dead server) stops when that is over, and the
/// others stand still until then: so it is not waited for longer than `limit`, and a guest is never
/// frozen for longer than that by what is not its fault.
class Standstill {
public:
    static constexpr std::chrono::milliseconds limit{100};

    /// `pidfd` must outlive it.
    explicit Standstill(int pidfd) : pidfd_(pidfd) {}
    ~Standstill() { go_on(); }
    Standstill(const Standstill&) = delete;
    Standstill& operator=(const Standstill&) = delete;

    /// True: from its return until go_on() none of its threads runs. False: it could not be had in
    /// time, and the process runs on.
    [[nodiscard]] Result<bool> begin();
    /// May be called more than once.
    void go_on();

private:
    int pidfd_;
    bool stopped_ = false;
};

} // namespace drover
