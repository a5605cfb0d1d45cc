// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "vmm/qemu/tracker/process_handle.h"

#include <chrono>
#include <memory>
#include <thread>

namespace drover {

/// Holds a process still, as a debugger would (ptrace). Not by SIGSTOP: whoever started QEMU would
/// be told, and a shell, or sudo, would take it for a job that the user suspended. And only who
/// traces a process, or is its parent, learns when the last of its threads has stopped.
///
/// A thread that waits in the kernel (a slow disk, a dead server) stops when that is over, and the
/// others stand still until then: so it is not waited for longer than `limit`, and a guest is never
/// frozen for longer than that by what is not its fault.
class Standstill {
public:
    static constexpr std::chrono::milliseconds limit{100};

    /// Once, before there is another thread: none but those that trace may take the SIGCHLD that
    /// says that a thread has stopped.
    static void prepare_process();

    /// `process` must outlive it.
    explicit Standstill(const ProcessHandle& process) : process_(process) {}
    ~Standstill() { go_on(); }
    Standstill(const Standstill&) = delete;
    Standstill& operator=(const Standstill&) = delete;

    /// True: from its return until go_on() none of its threads runs. False: it could not be had in
    /// time, and the process runs on.
    [[nodiscard]] Result<bool> begin();
    /// May be called more than once.
    void go_on();

private:
    struct Shared;
    const ProcessHandle& process_;
    std::shared_ptr<Shared> shared_;
    std::thread tracer_; ///< what it has not let go is let go by its end
};

} // namespace drover
