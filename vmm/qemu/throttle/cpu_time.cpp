// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/throttle/cpu_time.h"

#include <cstdio>
#include <fstream>
#include <string>
#include <unistd.h>

namespace drover::qemu {

namespace {

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

double ran_s(pid_t process, std::span<const pid_t> threads)
{
    double seconds = 0;
    for (const pid_t thread : threads)
        seconds += thread_ran(process, thread);
    return seconds;
}

} // namespace drover::qemu
