// SPDX-License-Identifier: GPL-2.0-or-later
//
// What measuring costs. The figure of docs/balancer-monitor.md comes from the test that is not in
// the default run: GTEST_ALSO_RUN_DISABLED_TESTS=1 ./devtool unit 'MeasureCost.*'.
#include "contrib/balancer/host/measure/load_monitor.h"
#include "tests/unit/balancer/host/measure/child_process.h"

#include <ctime>
#include <memory>
#include <pthread.h>

namespace drover::balancer {

namespace {

using testing::ChildProcess;

/// An emulator of which nothing is wanted but its process and its threads: with a child, as
/// drover-system-x86_64 has, and in it four vCPUs, I/O threads and the like.
void pose_as_emulator(int)
{
    if (fork() != 0)
        return;
    for (int i = 0; i < 7; ++i) {
        pthread_t thread = {};
        pthread_create(
            &thread, nullptr,
            [](void*) -> void* {
                pause();
                return nullptr;
            },
            nullptr);
    }
    pause();
}

double cpu_seconds()
{
    timespec now = {};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) + now.tv_nsec / 1e9;
}

/// Processor time of one sample, of a mean second, with so many guests.
double cost_of(unsigned guests, unsigned samples)
{
    std::vector<std::unique_ptr<ChildProcess>> processes;
    LoadMonitor monitor({});
    for (unsigned i = 0; i < guests; ++i) {
        processes.push_back(std::make_unique<ChildProcess>(pose_as_emulator));
        processes.back()->step();
        monitor.add({.name = "guest-" + std::to_string(i),
                     .pid = processes.back()->pid(),
                     .nics = {{.id = "net0", .ifname = "eth0", .expected = 1e6}}});
    }
    int second = 0;
    const auto sample = [&] {
        monitor.sample({TimePoint(std::chrono::seconds(1000 + second++)), 0});
    };
    for (int i = 0; i < 10; ++i) // the first ones look for more
        sample();
    const double start = cpu_seconds();
    for (unsigned i = 0; i < samples; ++i)
        sample();
    EXPECT_EQ(monitor.vms().size(), guests);
    EXPECT_GT(monitor.vms().back().resident, 0);
    return (cpu_seconds() - start) / samples;
}

} // namespace

TEST(MeasureCost, IsSmall)
{
    const double cost = cost_of(10, 20);
    RecordProperty("microseconds", std::to_string(cost * 1e6));
    EXPECT_LT(cost, 0.01); // loosely: sanitizers, busy machines
}

TEST(MeasureCost, DISABLED_OfAHundredGuests)
{
    const double cost = cost_of(100, 100);
    printf("a sample of 100 guests (200 processes, 900 threads): %.2f ms of processor time, "
           "%.2f %% of a core\n",
           cost * 1e3, cost * 100);
    EXPECT_LT(cost, 0.01);
}

} // namespace drover::balancer
