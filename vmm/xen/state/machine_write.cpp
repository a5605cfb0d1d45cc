// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/xen/state/hvm_chips.h"
#include "vmm/xen/state/hvm_vcpu.h"
#include "vmm/xen/state/hvm_vcpu_fields.h"
#include "vmm/xen/state/model_devices.h"
#include "vmm/xen/state/xen_machine.h"

namespace drover::xen {

namespace {

/// Xen's own ACPI timer and event registers: used only by guests that found them at their boot.
HvmPmTimer pm_timer_of(const state::MachineState& machine)
{
    if (!is_born_on_xen(machine))
        return {};
    return {.timer = machine.clocks->acpi_timer,
            .status = machine.acpi_pm->status,
            .enable = machine.acpi_pm->enable};
}

HvmContext context_of(const state::MachineState& machine)
{
    HvmContext context;
    context.add(HvmType::Header, 0, HvmHeader{.tsc_khz = machine.clocks->tsc_khz});
    for (const state::Vcpu& vcpu : machine.vcpus)
        write_vcpu(vcpu, is_born_on_xen(machine), context);
    for (size_t i = 0; i < machine.lapics.size(); ++i)
        write_lapic(machine.lapics[i], msr_of(machine.vcpus[i], MsrIndex::TscDeadline), context);
    write_chips(machine, context);
    context.add(HvmType::PmTimer, 0, pm_timer_of(machine));
    context.sort();
    return context;
}

void judge_numbers(const state::MachineState& machine, XenFit& fit)
{
    static constexpr size_t most_vcpus = 128; // of Xen's HVM guests
    if (machine.vcpus.empty() || machine.vcpus.size() != machine.lapics.size() ||
        machine.vcpus.size() > most_vcpus)
        fit.refuse("it has not 1 to 128 vCPUs, each with its interrupt controller");
    for (size_t i = 0; i < machine.vcpus.size(); ++i)
        if (machine.vcpus[i].number != i ||
            (i < machine.lapics.size() && machine.lapics[i].number != i))
            fit.refuse("its vCPUs are not numbered from 0 on");
    if (machine.acpi_pm && machine.acpi_pm->port != xen_pm_port &&
        machine.acpi_pm->port != qemu_pm_port)
        fit.refuse("its power management is neither where QEMU's firmware puts it nor where Xen's "
                   "does: it is still in its firmware");
}

} // namespace

XenFit judge_machine(const state::MachineState& machine)
{
    XenFit fit;
    judge_numbers(machine, fit);
    for (const state::Vcpu& vcpu : machine.vcpus)
        judge_vcpu(vcpu, fit);
    for (const state::Lapic& lapic : machine.lapics)
        judge_lapic(lapic, fit);
    judge_chips(machine, is_born_on_xen(machine), fit);
    judge_devices(machine, fit);
    return fit;
}

Result<WrittenMachine> write_machine(const state::MachineState& machine)
{
    XenFit fit = judge_machine(machine);
    if (!fit.impossible.empty())
        return fail(ErrorKind::Incompatible, "the guest cannot run on Xen: " + fit.impossible[0]);
    WrittenMachine written{.hvm = context_of(machine), .model = {}, .changes = {}};
    auto model = write_model(machine, fit);
    if (!model)
        return std::unexpected(std::move(model.error()));
    written.model = std::move(*model);
    written.changes = std::move(fit.changes);
    return written;
}

} // namespace drover::xen
