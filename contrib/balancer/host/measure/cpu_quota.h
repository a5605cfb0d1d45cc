// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/host/measure/counter.h"
#include "contrib/balancer/host/measure/proc_file.h"

#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace drover::balancer::measure {

/// A thread in the second before. Its group: as /proc/PID/task/TID/cgroup names the one that
/// schedules it, empty if it is none but the root.
struct ThreadUse {
    double run = 0;  ///< part of the time that it ran
    double wait = 0; ///< … and that it could have run and did not
    bool is_new = false;
    std::string group;
    double missed = 0; ///< of CpuQuotas::limit(): what it would have run more, alone
};

/// The group of control groups that schedules a thread, from its file "cgroup": of version 1 the
/// one of "cpu", else that of version 2. Without the first slash; empty: the root, or none.
[[nodiscard]] std::string parse_cpu_group(std::string_view text);

/// Cores: what is left to a group. Version 2's "cpu.max", version 1's two files. Nothing: no bound.
[[nodiscard]] std::optional<double> parse_cpu_max(std::string_view text);
[[nodiscard]] std::optional<double> parse_cfs_quota(std::string_view quota,
                                                    std::string_view period);

/// What a thread that ran for the part `run` of the time, and waited for a processor for the part
/// `wait`, missed by that. A thread that works and then sleeps would have done its rounds faster
/// alone: it would have run for run / (1 - wait). One that never slept missed all that it waited.
[[nodiscard]] double unmet_share(double run, double wait);

/// The quotas of processor time (CFS bandwidth) that bound one VM. The kernel counts the time in
/// which a quota is used up as waiting, but no other host would give the guest more. One thread at
/// a time.
class CpuQuotas {
public:
    /// `root` is "/" but for tests. `host`: the group that stands for the host, whose quota is the
    /// host's capacity and not the guest's; empty: none does.
    CpuQuotas(const std::string& root, std::string host);

    /// Looks for the groups' quotas again, at the next limit().
    void look_again() { look_ = true; }

    /// Sets what each thread missed: of its waiting what no quota caused, and no more than the
    /// quotas of its group and of those above leave it.
    void limit(std::span<ThreadUse> threads, double elapsed, ReadBuffer& buffer);

private:
    struct Group {
        ProcFile stat;
        std::optional<double> quota; ///< cores
        Counter throttled_ns;
        double throttled = 0; ///< s of each second, summed over processors
    };

    void follow(std::span<const ThreadUse> threads, ReadBuffer& buffer);
    void read_quota(const std::string& name, Group& group, ReadBuffer& buffer) const;
    void read_throttled(Group& group, double elapsed, ReadBuffer& buffer) const;

    std::string top_; ///< where the groups that schedule are
    std::string host_;
    bool v2_ = false;
    bool look_ = true;
    std::map<std::string, Group> groups_;
};

} // namespace drover::balancer::measure
