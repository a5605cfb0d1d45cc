// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/throttle/vcpu_throttle.h"

#include "vmm/qemu/throttle/cpu_time.h"

#include <algorithm>
#include <map>
#include <string>

namespace drover::qemu {

namespace {

/// vCPUs that idled while they were observed must still be able to wake up.
constexpr double least_cores = 0.05;

} // namespace

Result<std::unique_ptr<VcpuThrottle>> VcpuThrottle::create(pid_t process,
                                                           const std::vector<pid_t>& threads)
{
    if (threads.empty())
        return fail(ErrorKind::Machine, "QEMU named no vCPU threads", "");
    std::map<std::string, std::pair<CgroupPlace, std::vector<pid_t>>> places;
    for (const pid_t thread : threads) {
        auto place = cpu_cgroup_of(process, thread);
        if (!place)
            return pass(place);
        auto& [known, together] = places[place->directory];
        known = *place;
        together.push_back(thread);
    }
    std::unique_ptr<VcpuThrottle> throttle(new VcpuThrottle(process));
    for (auto& [directory, found] : places) {
        auto quota = CpuQuota::create(found.first, found.second);
        if (!quota)
            return pass(quota);
        throttle->groups_.push_back(
            {.threads = std::move(found.second), .quota = std::move(*quota)});
    }
    throttle->observe();
    return throttle;
}

double VcpuThrottle::ran(const Group& group) const
{
    return ran_s(process_, group.threads);
}

void VcpuThrottle::observe()
{
    if (slowed_)
        return;
    observed_ = Clock::now();
    observing_ = true;
    for (Group& group : groups_)
        group.ran_s = ran(group);
}

/// What each group used. One that was too short to tell is taken for
/// busy, which errs to the mild side.
void VcpuThrottle::conclude()
{
    if (!std::exchange(observing_, false))
        return;
    const double seconds = seconds_since(observed_);
    for (Group& group : groups_) {
        const auto most = static_cast<double>(group.threads.size());
        group.cores = seconds < telling_cpu_s
                          ? most
                          : std::clamp((ran(group) - group.ran_s) / seconds, least_cores, most);
    }
}

Status VcpuThrottle::slow_down(double part)
{
    if (part <= 0) {
        release();
        return {};
    }
    slowed_ = true;
    conclude();
    for (Group& group : groups_)
        if (Status bound = group.quota->bound(group.cores * (1 - part)); !bound) {
            release();
            return bound;
        }
    return {};
}

void VcpuThrottle::release()
{
    for (Group& group : groups_)
        group.quota->lift();
    if (std::exchange(slowed_, false))
        observe();
}

} // namespace drover::qemu
