// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "util/result.h"

#include <memory>
#include <string>
#include <sys/types.h>

namespace drover::qemu {

/// A control group for one thread, below the one in which the thread is, by which its processor
/// time can be bounded. cgroup v1 (controller cpu: its file "tasks") or v2 (a threaded group);
/// see the kernel's admin-guide/cgroup-v1 and cgroup-v2.rst.
///
/// The thread is moved in when a bound is set. When it is lifted, or this is destroyed, the thread
/// is moved back and the group removed. If Drover is killed, QEMU dies too, and an empty group is
/// all that is left.
class CpuQuota {
public:
    /// Makes the group, to see that it can be made; the thread stays where it is. The error says
    /// what is not permitted.
    [[nodiscard]] static Result<std::unique_ptr<CpuQuota>> create(pid_t process, pid_t thread);
    virtual ~CpuQuota() = default;

    /// At most `cores` (more than 0) of processor time from now on.
    [[nodiscard]] virtual Status bound(double cores) = 0;
    /// No bound any more.
    virtual void lift() = 0;
};

/// The quota and the period, in microseconds, for so many cores: a period of 10 ms where that gives
/// a quota of at least the kernel's millisecond, up to 100 ms where the thread is to run so little.
struct QuotaAndPeriod {
    long quota_us;
    long period_us;
};
[[nodiscard]] QuotaAndPeriod quota_for(double cores);

/// Where a thread's cgroup is, from the texts of /proc/PID/task/TID/cgroup and
/// /proc/self/mountinfo.
struct CgroupPlace {
    std::string directory; ///< without a slash at its end
    bool v2 = false;
};
[[nodiscard]] Result<CgroupPlace> find_cpu_cgroup(const std::string& cgroup_text,
                                                  const std::string& mountinfo_text);

} // namespace drover::qemu
