// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "util/clock.h"
#include "vmm/qemu/throttle/write_budget.h"
#include "vmm/qemu/tracker/pagemap_scan.h"

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <thread>
#include <vector>

namespace drover::qemu {

/// Bounds how many clean pages the guest makes dirty a second: its vCPUs wait at the first write to
/// each. Computing, reading, and writing again where it wrote already run at full speed.
///
/// A thread of its own answers, another one hands over the RAM. Only vCPUs are kept waiting (and
/// the kernel's threads that act for them): QEMU's other threads may hold its big lock. No write
/// waits for longer than 10 ms, whatever the rate: so that the guest can be paused at any time.
class WriteGovernor {
public:
    /// The tracker and the blocks must outlive it. `vcpus`: the threads. `overdrawn` is called on
    /// the governor's thread, once, when the guest writes so fast that the faults alone cost it
    /// more than `most`: from then on nobody is kept waiting, and end() is due. The error says why
    /// it does not work here.
    [[nodiscard]] static Result<std::unique_ptr<WriteGovernor>>
    create(pid_t process, HoldingTracker& tracker, std::span<const BlockMapping> blocks,
           std::vector<pid_t> vcpus, std::function<void(Error)> gave_up);
    ~WriteGovernor();
    WriteGovernor(const WriteGovernor&) = delete;
    WriteGovernor& operator=(const WriteGovernor&) = delete;

    /// Begins, or goes on with other limits. The tracker must have been started. It takes effect
    /// piece by piece, between which the guest runs.
    void govern(const GovernorLimits& limits);
    /// From now on nobody waits; a first write still costs a fault.
    void release();
    /// The same, and the faults end too, piece by piece.
    void end();
    /// Waits until all pieces are as they are to be, or the governor gave up.
    void settle();

    /// Counted so far.
    struct Stats {
        std::atomic<uint64_t> governed = 0; ///< writes of vCPUs
        std::atomic<uint64_t> let = 0;      ///< writes of others
        std::atomic<double> waited_s = 0;   ///< by vCPUs, all told
        std::atomic<double> still_s = 0;    ///< the guest stood, all told
        std::atomic<double> longest_still_s = 0;
    };
    [[nodiscard]] const Stats& stats() const { return stats_; }

private:
    WriteGovernor(pid_t process, HoldingTracker& tracker, std::span<const BlockMapping> blocks,
                  std::vector<pid_t> vcpus, std::function<void(Error)> gave_up);
    class Answering;
    void start_threads();
    void limit(std::optional<GovernorLimits> limits, std::optional<bool> hold);
    void give_up(Error why);
    void change_pieces();

    pid_t process_;
    HoldingTracker& tracker_;
    std::span<const BlockMapping> blocks_;
    std::vector<pid_t> vcpus_;
    std::function<void(Error)> gave_up_;

    /// What is wanted of the governor's threads.
    std::mutex lock_;
    std::condition_variable changed_;
    std::optional<GovernorLimits> limits_; ///< none: answer at once
    bool hold_ = false;                    ///< all of the RAM; else nothing
    bool settled_ = true;                  ///< it is so
    bool quit_ = false;
    double stood_still_s_ = 0; ///< not yet reckoned with

    Stats stats_;

    UniqueFd wakeup_; ///< an eventfd
    std::thread answering_;
    std::thread changing_; ///< a thread of its own: what it waits for may need an answer
};

} // namespace drover::qemu
