// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/host/measure/counter.h"
#include "contrib/balancer/host/measure/cpu_quota.h"
#include "contrib/balancer/host/measure/proc_file.h"
#include "contrib/balancer/host/measure/process_files.h"

#include <map>
#include <string>
#include <sys/types.h>
#include <vector>

namespace drover::balancer::measure {

/// One process and its threads, each second. The files stay open and belong to this process: if its
/// number is given to another, nothing is read of that one.
class ProcessMeter {
public:
    /// Threads beyond so many are not looked at one by one.
    static constexpr size_t max_threads = 256;

    ProcessMeter(const std::string& root, pid_t pid);

    struct Usage {
        double cpu = 0;                 ///< cores
        std::vector<ThreadUse> threads; ///< empty: this kernel has no schedstat
        ProcessMemory memory;
        uint64_t memfds = 0; ///< bytes of its memfds, in memory or in swap
    };

    /// Since the call before, `elapsed` seconds ago. Nothing once the process has ended.
    [[nodiscard]] std::optional<Usage> sample(double elapsed, ReadBuffer& buffer);

    /// From now on, tells threads that are new apart: a migration's, if it has just begun. Those
    /// of a process that was not looked at before are not new.
    void mark_new_threads(bool on);

    /// Finds its memfds, its sockets and its threads' groups. To be called now and then: a call for
    /// each descriptor.
    void look_around(ReadBuffer& buffer);

    /// Inodes of the sockets, as of the last look.
    [[nodiscard]] const std::vector<uint64_t>& sockets() const { return sockets_; }
    [[nodiscard]] pid_t pid() const { return pid_; }

private:
    struct Thread {
        ProcFile file;
        Counter wait_ns;
        Counter run_ns;
        bool is_new = false;
        std::string group; // see ThreadUse
    };

    void look_for_threads(ReadBuffer& buffer);
    void look_for_descriptors();
    [[nodiscard]] uint64_t memfd_bytes() const;
    void sample_threads(Usage& usage, double elapsed, ReadBuffer& buffer);

    pid_t pid_;
    UniqueFd dir_; // /proc/PID
    ProcFile stat_;
    ProcFile status_;
    Counter cpu_ticks_;
    std::map<int, Thread> threads_;
    uint64_t threads_seen_ = 0; // as stat said when they were last looked for
    bool has_schedstat_ = true;
    bool looked_ = false;
    bool marks_new_ = false;
    std::vector<std::string> memfds_; // "fd/N"
    std::vector<uint64_t> sockets_;
};

/// Which process has which parent: an emulator may have Drover, or helpers, as its children.
class ProcessTree {
public:
    explicit ProcessTree(std::string root) : root_(std::move(root)) {}

    /// Reads all of /proc: some microseconds for each process of the machine.
    void scan(ReadBuffer& buffer);

    /// `pid` and what descends from it, as of the last scan; at most 64.
    [[nodiscard]] std::vector<pid_t> family(pid_t pid) const;

private:
    std::string root_;
    std::multimap<pid_t, pid_t> children_;
};

} // namespace drover::balancer::measure
