// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "util/clock.h"
#include "vmm/qemu/throttle/cpu_quota.h"

#include <memory>
#include <vector>

namespace drover::qemu {

/// Slows a guest by giving its vCPUs a part of the processor time that they used before: a guest
/// that used a tenth of a core gets a twentieth at half the speed. vCPUs in the same control group
/// share their part, so that it does not matter which of them works. Loop thread only.
class VcpuThrottle {
public:
    /// `threads`: of the vCPUs. The error says why this host does not permit it.
    [[nodiscard]] static Result<std::unique_ptr<VcpuThrottle>>
    create(pid_t process, const std::vector<pid_t>& threads);

    /// From here on the guest's use of the processor is measured, at full speed.
    void observe();
    /// That is over: it is slowed from now on, by this or by other means.
    void conclude();

    /// 0: full speed … 0.99. Where one cannot be slowed, all are fast again.
    [[nodiscard]] Status slow_down(double part);

private:
    /// vCPUs in one control group: usually all.
    struct Group {
        std::vector<pid_t> threads;
        std::unique_ptr<CpuQuota> quota;
        double ran_s = 0; ///< when the observation began
        double cores = 0; ///< used at full speed
    };

    explicit VcpuThrottle(pid_t process) : process_(process) {}
    void release();
    /// Processor time of the group's threads so far, seconds.
    [[nodiscard]] double ran(const Group& group) const;

    pid_t process_;
    std::vector<Group> groups_;
    TimePoint observed_{};
    bool observing_ = false;
    bool slowed_ = false;
};

} // namespace drover::qemu
