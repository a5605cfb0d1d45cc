// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/throttle/vcpu_throttle.h"

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <map>
#include <string>
#include <unistd.h>

namespace drover::qemu {

namespace {

/// vCPUs that idled while they were observed must still be able to wake up.
constexpr double least_cores = 0.05;
/// Less than this says nothing of a guest's use of the processor.
constexpr double telling_s = 0.1;

/// proc(5), schedstat: nanoseconds on the processor come first. Kernels without CONFIG_SCHED_INFO
/// have no such file; then stat's clock ticks must do.
double thread_ran(pid_t process, pid_t thread)
{
    const std::string task = "/proc/" + std::to_string(process) + "/task/" + std::to_string(thread);
    unsigned long long nanoseconds = 0;
    if (std::ifstream file(task + "/schedstat"); file >> nanoseconds && nanoseconds > 0)
        return static_cast<double>(nanoseconds) / 1e9;
    std::ifstream file(task + "/stat");
    std::string text;
    std::getline(file, text);
    unsigned long user = 0, system = 0;
    const size_t name_end = text.rfind(')'); // a name may hold blanks
    if (name_end == std::string::npos ||
        sscanf(text.c_str() + name_end, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
               &user, &system) != 2)
        return 0;
    return static_cast<double>(user + system) / static_cast<double>(sysconf(_SC_CLK_TCK));
}

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
    double seconds = 0;
    for (const pid_t thread : group.threads)
        seconds += thread_ran(process_, thread);
    return seconds;
}

void VcpuThrottle::observe()
{
    if (slowed_)
        return;
    observed_ = Clock::now();
    for (Group& group : groups_)
        group.ran_s = ran(group);
}

/// The end of the observation: what each group used. One that was too short to tell is taken for
/// busy, which errs to the mild side.
void VcpuThrottle::conclude()
{
    const double seconds = seconds_since(observed_);
    for (Group& group : groups_) {
        const auto most = static_cast<double>(group.threads.size());
        group.cores = seconds < telling_s
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
    if (!std::exchange(slowed_, true))
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
