// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "util/result.h"

#include <memory>
#include <string>
#include <sys/types.h>
#include <vector>

namespace drover::qemu {

/// Where threads' cgroup is.
struct CgroupPlace {
    std::string directory; ///< without a slash at its end
    bool v2 = false;
};
/// From the texts of /proc/PID/task/TID/cgroup and /proc/self/mountinfo.
[[nodiscard]] Result<CgroupPlace> find_cpu_cgroup(const std::string& cgroup_text,
                                                  const std::string& mountinfo_text);
[[nodiscard]] Result<CgroupPlace> cpu_cgroup_of(pid_t process, pid_t thread);

/// A control group for some threads, below the one in which they are, by which their processor
/// time can be bounded. cgroup v1 (controller cpu: its file "tasks") or v2 (a threaded group);
/// see the kernel's admin-guide/cgroup-v1 and cgroup-v2.rst.
///
/// The group is there, and the threads in it, while a bound is set: most guests are never slowed,
/// and a Drover that is killed removes nothing. If that befalls one whose guest is slowed, QEMU
/// dies too, and an empty group is all that is left.
class CpuQuota {
public:
    /// Makes the group once, to see that it can be made; the threads stay where they are. The error
    /// says what is not permitted.
    [[nodiscard]] static Result<std::unique_ptr<CpuQuota>> create(CgroupPlace place,
                                                                  std::vector<pid_t> threads);
    virtual ~CpuQuota() = default;

    /// At most `cores` (more than 0) of processor time for all of them together from now on.
    [[nodiscard]] virtual Status bound(double cores) = 0;
    /// No bound any more.
    virtual void lift() = 0;
};

/// The quota and the period, in microseconds, for so many cores: a period of 10 ms where that gives
/// a quota of at least the kernel's millisecond, up to 20 ms where less is to be run. Not more: a
/// vCPU that has used up its quota keeps the guest from being paused until the period is over.
struct QuotaAndPeriod {
    long quota_us;
    long period_us;
};
[[nodiscard]] QuotaAndPeriod quota_for(double cores);

} // namespace drover::qemu
