// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/host/vm_questions.h"

namespace drover::balancer {

namespace {

void ask_memory_size(Vm& vm, const MonitorFinder& monitor)
{
    vm.link().execute(
        "query-memory-size-summary", Json::object(), [monitor](const Result<Json>& size) {
            VmMonitor* known = size ? monitor() : nullptr;
            if (known != nullptr)
                known->set_memory(static_cast<double>(json_u64(*size, "base-memory") +
                                                      json_u64(*size, "plugged-memory")));
        });
}

} // namespace

DiskCounters sum_disks(const Json& blockstats)
{
    DiskCounters sum;
    if (!blockstats.is_array())
        return sum;
    for (const Json& device : blockstats) {
        const auto stats = device.is_object() ? device.find("stats") : device.end();
        if (!device.is_object() || stats == device.end() || !stats->is_object())
            continue;
        sum.read += json_u64(*stats, "rd_bytes");
        sum.written += json_u64(*stats, "wr_bytes");
    }
    return sum;
}

void ask_vm(Vm& vm, const MonitorFinder& monitor)
{
    if (!vm.link().is_up())
        return;
    // Without a balloon QEMU answers with an error, and the guest has all that it was given.
    vm.link().execute("query-balloon", Json::object(), [&vm, monitor](const Result<Json>& balloon) {
        VmMonitor* known = monitor();
        if (known == nullptr)
            return;
        if (balloon)
            known->set_memory(static_cast<double>(json_u64(*balloon, "actual")));
        else
            ask_memory_size(vm, monitor);
    });
    vm.link().execute("query-blockstats", Json::object(), [monitor](const Result<Json>& stats) {
        VmMonitor* known = stats ? monitor() : nullptr;
        if (known == nullptr)
            return;
        const DiskCounters sum = sum_disks(*stats);
        known->set_disk_counters(sum.read, sum.written, drover::Clock::now());
    });
    if (VmMonitor* known = monitor(); known != nullptr)
        known->set_vcpus(static_cast<unsigned>(vm.vcpu_threads().size()));
}

} // namespace drover::balancer
