// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "vmm/qemu/throttle/write_governor.h"

#include <poll.h>

namespace drover::qemu {

/// What the write governor's thread does: it reads the faults, and answers each when it is due.
class WriteGovernor::Answering {
public:
    explicit Answering(WriteGovernor& governor);
    /// Until it is told to quit.
    void run();

private:
    struct Fault {
        size_t block;
        uint64_t address; ///< of the page
        pid_t thread;
        bool vcpu; ///< false: the kernel's, for a vCPU that may go on meanwhile
        TimePoint since;
    };

    /// What the loop thread wants. False: to end.
    bool heed();
    void read_faults(size_t block);
    void take(size_t block, uint64_t address, pid_t thread);
    /// One of QEMU's threads, rather than one of the kernel's that acts for a vCPU.
    [[nodiscard]] bool is_qemus(pid_t thread) const;
    void reckon();
    [[nodiscard]] unsigned waiting() const;
    void answer_due();
    void overdraw();
    [[nodiscard]] bool is_due(const Fault& first) const;
    void answer(Fault fault);
    void sleep_until_due();

    WriteGovernor& governor_;
    WriteBudget budget_;
    TimePoint reckoned_;
    bool governed_ = false;
    std::vector<Fault> faults_; ///< that wait, the oldest first
    std::vector<pollfd> watched_;
};

} // namespace drover::qemu
