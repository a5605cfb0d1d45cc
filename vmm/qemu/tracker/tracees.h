// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "util/clock.h"
#include "vmm/qemu/tracker/process_handle.h"

#include <map>
#include <sys/types.h>

namespace drover {

/// The threads of a process, traced by the thread that made this and stopped: the kernel lets no
/// other thread work with them, and lets go of what is left when that thread ends.
class Tracees {
public:
    /// `process` must outlive it.
    explicit Tracees(const ProcessHandle& process);
    Tracees(const Tracees&) = delete;
    Tracees& operator=(const Tracees&) = delete;

    /// Traces and interrupts the threads that are not traced yet. Whether there was one, or may
    /// have been: then it is to be asked again, when those have stopped.
    [[nodiscard]] Result<bool> seize_new();
    /// Until each has stopped, or ended. False if that is not so before the deadline.
    [[nodiscard]] Result<bool> await_stops(TimePoint deadline);
    /// True, or an error if the process has ended and its number may be another's.
    [[nodiscard]] Result<bool> are_of_the_process() const;
    /// Those that have stopped go on at once, the others when our thread ends.
    void let_go();

private:
    struct Tracee {
        bool stopped = false;
        bool ended = false;
        int signal = 0; ///< which was about to be delivered when it stopped: it must be yet
    };

    [[nodiscard]] Result<bool> seize(pid_t thread);
    [[nodiscard]] bool look(pid_t thread, Tracee& tracee) const;

    const ProcessHandle& process_;
    UniqueFd changes_; ///< a signalfd of SIGCHLD
    std::map<pid_t, Tracee> tracees_;
};

} // namespace drover
