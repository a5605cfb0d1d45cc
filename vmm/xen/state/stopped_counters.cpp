// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/xen/state/stopped_counters.h"

#include "vmm/xen/state/hvm_chip_layout.h"
#include "vmm/xen/state/hvm_chips.h"
#include "vmm/xen/state/hvm_cpu_layout.h"

#include <algorithm>
#include <cstdlib>

namespace drover::xen {

namespace {

constexpr uint64_t ns_in_second = 1'000'000'000;
constexpr uint64_t pm_timer_hz = 3'579'545; // ACPI 4.8.3.3
constexpr uint64_t hz_per_khz = 1'000;

uint64_t ticks_in(int64_t ns, uint64_t hz)
{
    const auto count = static_cast<uint64_t>(ns);
    return count / ns_in_second * hz + count % ns_in_second * hz / ns_in_second;
}

} // namespace

void set_back_to_stop(state::MachineState& machine, int64_t ns)
{
    if (ns <= 0 || !machine.clocks)
        return;
    const uint64_t ticks = ticks_in(ns, machine.clocks->tsc_khz * hz_per_khz);
    for (state::Vcpu& vcpu : machine.vcpus)
        vcpu.tsc -= std::min(ticks, vcpu.tsc);
    if (is_born_on_xen(machine))
        machine.clocks->acpi_timer -= static_cast<uint32_t>(ticks_in(ns, pm_timer_hz));
}

Result<HvmContext> with_tsc_moved(const HvmContext& context, int64_t ns)
{
    const HvmRecord* first = context.find(HvmType::Header);
    if (first == nullptr)
        return fail(ErrorKind::Protocol, "the domain's state has no header");
    auto header = decode_record<HvmHeader>(*first);
    if (!header)
        return pass(header);
    const uint64_t ticks = ticks_in(std::abs(ns), uint64_t{header->tsc_khz} * hz_per_khz);
    HvmContext again;
    again.records.push_back(*first);
    for (const HvmRecord& record : context.records) {
        if (record.type != HvmType::Cpu)
            continue;
        auto cpu = decode_record<HvmCpu>(record);
        if (!cpu)
            return pass(cpu);
        cpu->tsc = ns > 0 ? cpu->tsc + ticks : cpu->tsc - std::min(ticks, cpu->tsc);
        again.add(HvmType::Cpu, record.instance, *cpu);
    }
    return again;
}

} // namespace drover::xen
