// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/state/lapic_timer.h"
#include "vmm/xen/state/hvm_vcpu.h"
#include "vmm/xen/state/hvm_vcpu_fields.h"

#include <algorithm>

namespace drover::xen {

namespace {

constexpr uint64_t cr4_osxsave = 1U << 18;
constexpr uint32_t any_mxcsr = 0xffff;
constexpr uint64_t xen_mtrr_capabilities = 0x508; ///< 8 variable ones, fixed ones, write-combining
constexpr uint32_t fixed_up_task_state = 2;       ///< "busy", in the type of a task state segment
/// Bits of MCG_CAP that Xen takes on every CPU: the number of banks, and whether they have MCG_CTL.
constexpr uint64_t common_mcg_cap = 0x1ff;

bool is_started(const state::Vcpu& vcpu)
{
    return vcpu.run_state == state::RunState::Running || vcpu.run_state == state::RunState::Halted;
}

bool needs_xsave(const state::Vcpu& vcpu)
{
    return (vcpu.cr4 & cr4_osxsave) != 0 || (vcpu.xstate_in_use & Xcomponent::Avx) != 0;
}

FxsaveArea fxsave_of(const state::Vcpu& vcpu)
{
    FxsaveArea area;
    area.fcw = vcpu.fcw;
    area.fsw = vcpu.fsw;
    area.ftw = vcpu.ftw;
    area.last_opcode = vcpu.fop;
    area.last_instruction = vcpu.fip;
    area.last_data = vcpu.fdp;
    area.mxcsr = vcpu.mxcsr;
    area.mxcsr_mask = any_mxcsr;
    for (size_t i = 0; i < area.st.size(); ++i) {
        const state::X87Register& from = vcpu.x87[(i + x87_top(vcpu.fsw)) % area.st.size()];
        area.st[i].significand = from.significand;
        area.st[i].sign_and_exponent = from.sign_and_exponent;
    }
    area.xmm = vcpu.xmm;
    return area;
}

/// Intel's CPUs enter no guest whose task register is not busy; QEMU's TCG does not care.
uint16_t task_state_attributes(uint16_t attributes)
{
    return attributes | fixed_up_task_state;
}

void set_segments(const state::Vcpu& vcpu, HvmCpu& cpu)
{
    for (size_t i = 0; i < hvm_segments; ++i) {
        const state::Segment& segment = vcpu.segments[segment_names[i]];
        cpu.selectors[i] = segment.selector;
        cpu.limits[i] = segment.limit;
        cpu.bases[i] = segment.base;
        cpu.attributes[i] =
            i == HvmTr ? task_state_attributes(segment.attributes) : segment.attributes;
    }
    cpu.gdtr_base = vcpu.gdtr.base;
    cpu.gdtr_limit = vcpu.gdtr.limit;
    cpu.idtr_base = vcpu.idtr.base;
    cpu.idtr_limit = vcpu.idtr.limit;
}

void set_event(const state::PendingEvents& events, HvmCpu& cpu)
{
    const auto pending = [&cpu](uint32_t type, uint32_t vector, uint32_t more = 0) {
        cpu.pending_event = PendingBits::Valid | type << PendingBits::TypeShift | vector | more;
    };
    static constexpr uint32_t nmi_vector = 2;
    if (events.exception) {
        pending(PendingType::Exception, events.vector,
                events.has_error_code ? uint32_t{PendingBits::HasErrorCode} : 0);
        cpu.error_code = events.has_error_code ? events.error_code : 0;
    } else if (events.nmi_injected) {
        pending(PendingType::Nmi, nmi_vector);
    } else if (events.interrupt && !events.interrupt_is_soft) {
        // A software interrupt's instruction has not been passed yet: it comes again by itself.
        pending(PendingType::Interrupt, events.interrupt_vector);
    }
}

HvmCpu cpu_of(const state::Vcpu& vcpu)
{
    HvmCpu cpu;
    cpu.fpu = fxsave_of(vcpu);
    for (size_t i = 0; i < general_order.size(); ++i)
        cpu.general[i] = vcpu.general[general_order[i]];
    cpu.rip = vcpu.rip;
    cpu.rflags = vcpu.rflags;
    cpu.cr0 = vcpu.cr0;
    cpu.cr2 = vcpu.cr2;
    cpu.cr3 = vcpu.cr3;
    cpu.cr4 = vcpu.cr4;
    cpu.breakpoints = vcpu.breakpoints;
    cpu.dr6 = vcpu.dr6;
    cpu.dr7 = vcpu.dr7;
    cpu.tsc = vcpu.tsc;
    cpu.flags = fpu_initialised;
    for (const CpuMsrField& field : cpu_msr_fields)
        cpu.*field.field = msr_of(vcpu, field.index);
    set_segments(vcpu, cpu);
    set_event(vcpu.events, cpu);
    return cpu;
}

void write_xsave(const state::Vcpu& vcpu, HvmContext& context)
{
    HvmXsave xsave;
    xsave.feature_mask = vcpu.xcr0 | Xcomponent::X87 | Xcomponent::Sse;
    xsave.xcr0 = vcpu.xcr0;
    xsave.xcr0_accum = xsave.feature_mask | (vcpu.xstate_in_use & Xcomponent::Avx);
    xsave.fpu = fxsave_of(vcpu);
    xsave.in_use = vcpu.xstate_in_use;
    HvmRecord record{HvmType::CpuXsave, static_cast<uint16_t>(vcpu.number), state::encode(xsave)};
    if ((xsave.xcr0_accum & Xcomponent::Avx) != 0)
        for (const auto& ymm : vcpu.ymm_high)
            for (const uint64_t half : ymm)
                stream::append_le(record.bytes, half);
    context.records.push_back(std::move(record));
}

void write_listed_msrs(const state::Vcpu& vcpu, HvmContext& context)
{
    std::vector<HvmMsr> msrs;
    for (const uint32_t index : listed_msrs)
        if (const uint64_t value = msr_of(vcpu, index); value != 0)
            msrs.push_back({.index = index, .value = value});
    if (msrs.empty())
        return;
    HvmRecord record{HvmType::CpuMsr, static_cast<uint16_t>(vcpu.number),
                     state::encode(HvmMsrCount{.count = static_cast<uint32_t>(msrs.size())})};
    for (const HvmMsr& msr : msrs) {
        const auto bytes = state::encode(msr);
        record.bytes.insert(record.bytes.end(), bytes.begin(), bytes.end());
    }
    context.records.push_back(std::move(record));
}

HvmMtrr mtrr_of(const state::Vcpu& vcpu)
{
    HvmMtrr mtrr;
    mtrr.pat = msr_of(vcpu, MsrIndex::Pat);
    mtrr.default_type = msr_of(vcpu, MsrIndex::DefaultMtrr);
    mtrr.capabilities = xen_mtrr_capabilities;
    for (uint32_t i = 0; i < mtrr.variable.size(); ++i)
        mtrr.variable[i] = msr_of(vcpu, MsrIndex::FirstVariableMtrr + i);
    for (size_t i = 0; i < mtrr.fixed.size(); ++i)
        mtrr.fixed[i] = msr_of(vcpu, fixed_mtrr_msrs[i]);
    return mtrr;
}

HvmVmce vmce_of(const state::Vcpu& vcpu, bool born_on_xen)
{
    const uint64_t capabilities = msr_of(vcpu, MsrIndex::McgCap);
    HvmVmce vmce;
    vmce.capabilities = born_on_xen ? capabilities : capabilities & common_mcg_cap;
    for (uint32_t i = 0; i < vmce.bank_control.size(); ++i)
        vmce.bank_control[i] = msr_of(vcpu, MsrIndex::FirstBankControl + i);
    vmce.extended_control = msr_of(vcpu, MsrIndex::McgExtendedControl);
    return vmce;
}

} // namespace

uint64_t msr_of(const state::Vcpu& vcpu, uint32_t index, uint64_t otherwise)
{
    const auto found = std::ranges::find(vcpu.msrs, index, &state::Msr::index);
    return found != vcpu.msrs.end() ? found->value : otherwise;
}

void write_vcpu(const state::Vcpu& vcpu, bool born_on_xen, HvmContext& context)
{
    context.add(HvmType::Mtrr, vcpu.number, mtrr_of(vcpu));
    context.add(HvmType::VmceVcpu, vcpu.number, vmce_of(vcpu, born_on_xen));
    context.add(HvmType::TscAdjust, vcpu.number,
                HvmTscAdjust{.adjust = msr_of(vcpu, MsrIndex::TscAdjust)});
    // To Xen, a vCPU without the record is one that the guest has not started.
    if (!is_started(vcpu))
        return;
    context.add(HvmType::Cpu, vcpu.number, cpu_of(vcpu));
    if (needs_xsave(vcpu))
        write_xsave(vcpu, context);
    write_listed_msrs(vcpu, context);
}

void write_lapic(const state::Lapic& lapic, uint64_t tsc_deadline, HvmContext& context)
{
    const bool x2apic = (lapic.base & LapicBase::X2apic) != 0;
    const auto timer = state::free_timer_for(lapic, state::xen_lapic_hz);
    HvmLapic hidden;
    hidden.base = lapic.base;
    if ((lapic.base & LapicBase::Enabled) == 0)
        hidden.disabled |= LapicDisabled::Hardware;
    if ((lapic.spurious & lapic_on) == 0)
        hidden.disabled |= LapicDisabled::Software;
    hidden.timer_divisor = timer.divisor;
    hidden.tsc_deadline = tsc_deadline;
    context.add(HvmType::Lapic, lapic.number, hidden);

    HvmLapicRegisters shown;
    shown.at(LapicPlace::Id) = x2apic ? lapic.id : lapic.id << 24;
    shown.at(LapicPlace::Version) = xen_lapic_version;
    shown.at(LapicPlace::TaskPriority) = lapic.task_priority;
    shown.at(LapicPlace::LogicalDestination) =
        x2apic ? x2apic_logical(lapic.id) : lapic.logical_destination << 24;
    shown.at(LapicPlace::DestinationFormat) = lapic.destination_format << 28 | 0x0fffffff;
    shown.at(LapicPlace::Spurious) = lapic.spurious;
    for (size_t i = 0; i < lapic.in_service.size(); ++i) {
        const size_t apart = i * LapicPlace::Apart;
        shown.at(LapicPlace::InService + apart) = lapic.in_service[i];
        shown.at(LapicPlace::TriggerMode + apart) = lapic.trigger_mode[i];
        shown.at(LapicPlace::Requested + apart) = lapic.requested[i];
    }
    shown.at(LapicPlace::ErrorStatus) = lapic.error_status;
    shown.at(LapicPlace::CommandLow) = lapic.command_low;
    shown.at(LapicPlace::CommandHigh) = lapic.command_high;
    for (size_t i = 0; i < lapic.local_vectors.size(); ++i)
        shown.at(LapicPlace::LocalVectors + i * LapicPlace::Apart) = lapic.local_vectors[i];
    shown.at(LapicPlace::InitialCount) = timer.initial_count;
    shown.at(LapicPlace::DivideConfiguration) = lapic.divide_configuration;
    context.add(HvmType::LapicRegisters, lapic.number, shown);
}

} // namespace drover::xen
