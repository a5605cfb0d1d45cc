// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/throttle/vcpu_throttle.h"

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <string>
#include <unistd.h>

namespace drover::qemu {

namespace {

/// A vCPU that idled while it was observed must still be able to wake up.
constexpr double least_cores = 0.01;

} // namespace

Result<std::unique_ptr<VcpuThrottle>> VcpuThrottle::create(pid_t process,
                                                           const std::vector<pid_t>& threads)
{
    if (threads.empty())
        return fail(ErrorKind::Machine, "QEMU named no vCPU threads", "");
    std::unique_ptr<VcpuThrottle> throttle(new VcpuThrottle(process));
    for (const pid_t thread : threads) {
        auto quota = CpuQuota::create(process, thread);
        if (!quota)
            return pass(quota);
        throttle->vcpus_.push_back({.thread = thread, .quota = std::move(*quota)});
    }
    throttle->observe();
    return throttle;
}

/// proc(5), schedstat: nanoseconds on the processor come first. Kernels without CONFIG_SCHED_INFO
/// have no such file; then stat's clock ticks must do.
double VcpuThrottle::ran(const Vcpu& vcpu) const
{
    const std::string task =
        "/proc/" + std::to_string(process_) + "/task/" + std::to_string(vcpu.thread);
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

void VcpuThrottle::observe()
{
    if (slowed_)
        return;
    observed_ = Clock::now();
    for (Vcpu& vcpu : vcpus_)
        vcpu.ran_s = ran(vcpu);
}

/// The end of the observation: what each vCPU used.
void VcpuThrottle::conclude()
{
    const double seconds = std::max(seconds_since(observed_), 1e-3);
    for (Vcpu& vcpu : vcpus_)
        vcpu.cores = std::clamp((ran(vcpu) - vcpu.ran_s) / seconds, least_cores, 1.0);
}

Status VcpuThrottle::slow_down(double part)
{
    if (part <= 0) {
        release();
        return {};
    }
    if (!std::exchange(slowed_, true))
        conclude();
    for (Vcpu& vcpu : vcpus_)
        if (Status bound = vcpu.quota->bound(vcpu.cores * (1 - part)); !bound) {
            release();
            return bound;
        }
    return {};
}

void VcpuThrottle::release()
{
    for (Vcpu& vcpu : vcpus_)
        vcpu.quota->lift();
    if (std::exchange(slowed_, false))
        observe();
}

} // namespace drover::qemu
