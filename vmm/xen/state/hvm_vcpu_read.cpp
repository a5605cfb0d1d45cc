// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/state/lapic_timer.h"
#include "vmm/xen/state/hvm_vcpu.h"
#include "vmm/xen/state/hvm_vcpu_fields.h"

#include <algorithm>
#include <map>

namespace drover::xen {

namespace {

constexpr uint32_t widest_attributes = 0xfff;
constexpr uint32_t widest_selector = 0xffff;
constexpr size_t lapic_size = 24;
constexpr size_t lapic_size_4_22 = 32;    // with errors that are not shown yet: hvm_untaken.cpp
constexpr size_t xsave_legacy_size = 600; // bytes of CPU_XSAVE before component 2

std::unexpected<Error> strange(const HvmRecord& record, const std::string& what)
{
    return fail(ErrorKind::Protocol, "the hypervisor's record " + name_of(record) + " has " + what);
}

/// Xen before 4.7 on Intel's CPUs has them as the CPU does: the upper four bits four bits higher.
uint32_t folded(uint32_t attributes)
{
    if ((attributes & 0xf000) != 0 && (attributes & 0x0f00) == 0)
        return (attributes & 0xff) | (attributes >> 4 & 0xf00);
    return attributes;
}

class HvmVcpuReader {
public:
    HvmVcpuReader(const HvmContext& context, uint16_t number) : context_(context), number_(number)
    {
        vcpu_.number = number;
        vcpu_.smbase = initial_smbase;
    }

    Result<state::Vcpu> read()
    {
        Status done = take(HvmType::Cpu, &HvmVcpuReader::take_cpu);
        if (done && context_.find(HvmType::Cpu, number_) == nullptr)
            set_as_after_init();
        const auto next = [&](HvmType type, auto taker) {
            if (done)
                done = take(type, taker);
        };
        next(HvmType::Mtrr, &HvmVcpuReader::take_mtrr);
        next(HvmType::VmceVcpu, &HvmVcpuReader::take_vmce);
        next(HvmType::TscAdjust, &HvmVcpuReader::take_tsc_adjust);
        if (done)
            done = take_tsc_deadline();
        if (const HvmRecord* record = context_.find(HvmType::CpuXsave, number_); record && done)
            done = take_xsave(*record);
        if (const HvmRecord* record = context_.find(HvmType::CpuMsr, number_); record && done)
            done = take_listed_msrs(*record);
        if (!done)
            return std::unexpected(done.error());
        for (const auto& [index, value] : msrs_)
            vcpu_.msrs.push_back({index, value});
        return std::move(vcpu_);
    }

private:
    template <class Record>
    Status take(HvmType type, Status (HvmVcpuReader::*taker)(const HvmRecord&, const Record&))
    {
        const HvmRecord* record = context_.find(type, number_);
        if (record == nullptr)
            return {};
        const auto decoded = decode_record<Record>(*record);
        if (!decoded)
            return std::unexpected(decoded.error());
        return (this->*taker)(*record, *decoded);
    }

    Status take_cpu(const HvmRecord& record, const HvmCpu& cpu)
    {
        for (size_t i = 0; i < general_order.size(); ++i)
            vcpu_.general[general_order[i]] = cpu.general[i];
        vcpu_.rip = cpu.rip;
        vcpu_.rflags = cpu.rflags;
        vcpu_.cr0 = cpu.cr0;
        vcpu_.cr2 = cpu.cr2;
        vcpu_.cr3 = cpu.cr3;
        vcpu_.cr4 = cpu.cr4;
        vcpu_.breakpoints = cpu.breakpoints;
        vcpu_.dr6 = cpu.dr6;
        vcpu_.dr7 = cpu.dr7;
        vcpu_.tsc = cpu.tsc;
        vcpu_.xcr0 = Xcomponent::X87;
        vcpu_.xstate_in_use = Xcomponent::X87 | Xcomponent::Sse;
        for (const CpuMsrField& field : cpu_msr_fields)
            msrs_[field.index] = cpu.*field.field;
        if (cpu.pad != 0 || (cpu.flags & ~fpu_initialised) != 0)
            return strange(record, "bits that are not known here");
        take_floating_point((cpu.flags & fpu_initialised) != 0 ? cpu.fpu : FxsaveArea{});
        if ((cpu.flags & fpu_initialised) == 0)
            reset_floating_point();
        if (const Status done = take_segments(record, cpu); !done)
            return done;
        return take_event(record, cpu);
    }

    Status take_segments(const HvmRecord& record, const HvmCpu& cpu)
    {
        for (size_t i = 0; i < hvm_segments; ++i) {
            const uint32_t attributes = folded(cpu.attributes[i]);
            if (attributes > widest_attributes || cpu.selectors[i] > widest_selector)
                return strange(record, "a segment that no CPU has");
            vcpu_.segments[segment_names[i]] = {.selector = static_cast<uint16_t>(cpu.selectors[i]),
                                                .base = cpu.bases[i],
                                                .limit = cpu.limits[i],
                                                .attributes = static_cast<uint16_t>(attributes)};
        }
        if (cpu.gdtr_limit > UINT16_MAX || cpu.idtr_limit > UINT16_MAX)
            return strange(record, "a descriptor table that no CPU has");
        vcpu_.gdtr = {.base = cpu.gdtr_base, .limit = static_cast<uint16_t>(cpu.gdtr_limit)};
        vcpu_.idtr = {.base = cpu.idtr_base, .limit = static_cast<uint16_t>(cpu.idtr_limit)};
        return {};
    }

    Status take_event(const HvmRecord& record, const HvmCpu& cpu)
    {
        const uint32_t event = cpu.pending_event;
        if ((event & PendingBits::Valid) == 0) {
            if (event != 0 || cpu.error_code != 0)
                return strange(record, "an event that is none");
            return {};
        }
        state::PendingEvents& events = vcpu_.events;
        const auto vector = static_cast<uint8_t>(event & PendingBits::Vector);
        switch (event >> PendingBits::TypeShift & PendingBits::Type) {
        case PendingType::Interrupt:
            events.interrupt = true;
            events.interrupt_vector = vector;
            break;
        case PendingType::Nmi: events.nmi_injected = true; break;
        case PendingType::Exception:
            events.exception = true;
            events.vector = vector;
            events.has_error_code = (event & PendingBits::HasErrorCode) != 0;
            events.error_code = cpu.error_code;
            break;
        default: return strange(record, "an event of a sort that Xen does not keep");
        }
        const bool has_code = (event & PendingBits::HasErrorCode) != 0;
        if ((event & PendingBits::Reserved) != 0 || (has_code && !events.exception) ||
            (!has_code && cpu.error_code != 0) || (events.nmi_injected && vector != 2))
            return strange(record, "an event that no CPU delivers");
        return {};
    }

    void take_floating_point(const FxsaveArea& area)
    {
        vcpu_.fcw = area.fcw;
        vcpu_.fsw = area.fsw;
        vcpu_.ftw = area.ftw;
        vcpu_.fop = area.last_opcode;
        vcpu_.fip = area.last_instruction;
        vcpu_.fdp = area.last_data;
        vcpu_.mxcsr = area.mxcsr;
        for (size_t i = 0; i < area.st.size(); ++i)
            vcpu_.x87[(i + x87_top(area.fsw)) % area.st.size()] = {
                .significand = area.st[i].significand,
                .sign_and_exponent = area.st[i].sign_and_exponent};
        vcpu_.xmm = area.xmm;
    }

    void reset_floating_point()
    {
        vcpu_.fcw = initial_fcw;
        vcpu_.mxcsr = initial_mxcsr;
    }

    /// What is not in use is as after a reset, whatever the record has there.
    Status take_xsave(const HvmRecord& record)
    {
        HvmXsave xsave;
        state::Decoder decoder(record.bytes);
        describe(decoder, xsave);
        if (!decoder.good())
            return wrong_size(record);
        if (xsave.compact != 0 || std::ranges::any_of(xsave.reserved, [](uint64_t v) { return v; }))
            return strange(record, "a form that Xen does not write");
        if ((xsave.in_use & ~Xcomponent::Carried) != 0)
            return fail(
                ErrorKind::Incompatible,
                "vCPU " + std::to_string(number_) +
                    " uses AVX-512, protection keys, MPX or AMX, which are not carried yet");
        FxsaveArea area = xsave.fpu;
        if ((xsave.in_use & Xcomponent::X87) == 0) {
            const FxsaveArea found = area;
            area = {};
            area.fcw = initial_fcw;
            area.mxcsr = found.mxcsr;
            area.xmm = found.xmm;
        }
        if ((xsave.in_use & Xcomponent::Sse) == 0)
            area.xmm = {};
        take_floating_point(area);
        vcpu_.xcr0 = xsave.xcr0;
        vcpu_.xstate_in_use = xsave.in_use;
        return (xsave.in_use & Xcomponent::Avx) != 0 ? take_ymm(record) : Status{};
    }

    Status take_ymm(const HvmRecord& record)
    {
        const size_t size = sizeof(vcpu_.ymm_high);
        if (record.bytes.size() < xsave_legacy_size + size)
            return wrong_size(record);
        stream::LeReader reader(std::span(record.bytes).subspan(xsave_legacy_size, size));
        for (auto& ymm : vcpu_.ymm_high)
            for (uint64_t& half : ymm)
                half = reader.take<uint64_t>();
        return {};
    }

    Status take_mtrr(const HvmRecord& /*record*/, const HvmMtrr& mtrr)
    {
        msrs_[MsrIndex::Pat] = mtrr.pat;
        msrs_[MsrIndex::DefaultMtrr] = mtrr.default_type;
        for (uint32_t i = 0; i < mtrr.variable.size(); ++i)
            msrs_[MsrIndex::FirstVariableMtrr + i] = mtrr.variable[i];
        for (size_t i = 0; i < mtrr.fixed.size(); ++i)
            msrs_[fixed_mtrr_msrs[i]] = mtrr.fixed[i];
        return {};
    }

    Status take_vmce(const HvmRecord& /*record*/, const HvmVmce& vmce)
    {
        msrs_[MsrIndex::McgCap] = vmce.capabilities;
        for (uint32_t i = 0; i < vmce.bank_control.size(); ++i)
            take_if_set(MsrIndex::FirstBankControl + i, vmce.bank_control[i]);
        take_if_set(MsrIndex::McgExtendedControl, vmce.extended_control);
        return {};
    }

    Status take_tsc_adjust(const HvmRecord& /*record*/, const HvmTscAdjust& adjust)
    {
        msrs_[MsrIndex::TscAdjust] = adjust.adjust;
        return {};
    }

    Status take_tsc_deadline()
    {
        const HvmRecord* record = context_.find(HvmType::Lapic, number_);
        if (record == nullptr)
            return {};
        const auto lapic = decode_lapic(*record);
        if (!lapic)
            return std::unexpected(lapic.error());
        take_if_set(MsrIndex::TscDeadline, lapic->tsc_deadline);
        return {};
    }

    Status take_listed_msrs(const HvmRecord& record)
    {
        HvmMsrCount count;
        state::Decoder decoder(record.bytes);
        describe(decoder, count);
        if (!decoder.good() || count.pad != 0 || decoder.left() != count.count * sizeof(HvmMsr))
            return wrong_size(record);
        for (uint32_t i = 0; i < count.count; ++i) {
            HvmMsr msr;
            describe(decoder, msr);
            if (msr.reserved != 0 ||
                std::ranges::find(listed_msrs, msr.index) == std::end(listed_msrs))
                return strange(record, "a register that is not known here");
            msrs_[msr.index] = msr.value;
        }
        return {};
    }

    /// A register that not every CPU has.
    void take_if_set(uint32_t index, uint64_t value)
    {
        if (value != 0)
            msrs_[index] = value;
    }

    /// SDM3 table 10-1: what an INIT leaves, with which the vCPU waits.
    void set_as_after_init()
    {
        static constexpr uint16_t data_segment = 0x93;
        static constexpr uint16_t code_segment = 0x9b;
        static constexpr uint16_t ldt = 0x82;
        static constexpr uint16_t busy_tss = 0x8b;
        vcpu_.run_state = state::RunState::WaitsForSipi;
        vcpu_.rip = 0xfff0;
        vcpu_.rflags = 2;
        vcpu_.cr0 = 0x60000010;
        vcpu_.dr6 = 0xffff0ff0;
        vcpu_.dr7 = 0x400;
        for (state::Segment& segment : vcpu_.segments)
            segment = {.selector = 0, .base = 0, .limit = UINT16_MAX, .attributes = data_segment};
        vcpu_.segments[state::Cs] = {0xf000, 0xffff0000, UINT16_MAX, code_segment};
        vcpu_.segments[state::Ldtr].attributes = ldt;
        vcpu_.segments[state::Tr].attributes = busy_tss;
        vcpu_.gdtr.limit = UINT16_MAX;
        vcpu_.idtr.limit = UINT16_MAX;
        vcpu_.xcr0 = Xcomponent::X87;
        reset_floating_point();
    }

    const HvmContext& context_;
    uint16_t number_;
    state::Vcpu vcpu_;
    std::map<uint32_t, uint64_t> msrs_;
};

void take_lapic_registers(const HvmLapicRegisters& registers, state::Lapic& lapic)
{
    const bool x2apic = (lapic.base & LapicBase::X2apic) != 0;
    const uint32_t id = registers.at(LapicPlace::Id);
    const uint32_t logical = registers.at(LapicPlace::LogicalDestination);
    lapic.id = x2apic ? id : id >> 24;
    lapic.logical_destination = x2apic ? 0 : logical >> 24;
    lapic.destination_format = registers.at(LapicPlace::DestinationFormat) >> 28;
    lapic.task_priority = registers.at(LapicPlace::TaskPriority);
    lapic.spurious = registers.at(LapicPlace::Spurious);
    for (size_t i = 0; i < lapic.in_service.size(); ++i) {
        const size_t apart = i * LapicPlace::Apart;
        lapic.in_service[i] = registers.at(LapicPlace::InService + apart);
        lapic.trigger_mode[i] = registers.at(LapicPlace::TriggerMode + apart);
        lapic.requested[i] = registers.at(LapicPlace::Requested + apart);
    }
    lapic.error_status = registers.at(LapicPlace::ErrorStatus);
    lapic.command_low = registers.at(LapicPlace::CommandLow);
    lapic.command_high = registers.at(LapicPlace::CommandHigh);
    for (size_t i = 0; i < lapic.local_vectors.size(); ++i)
        lapic.local_vectors[i] = registers.at(LapicPlace::LocalVectors + i * LapicPlace::Apart);
    lapic.divide_configuration = registers.at(LapicPlace::DivideConfiguration);
}

} // namespace

std::vector<uint16_t> vcpu_numbers(const HvmContext& context)
{
    std::vector<uint16_t> numbers;
    for (const HvmRecord& record : context.records)
        if (record.type == HvmType::LapicRegisters)
            numbers.push_back(record.instance);
    std::ranges::sort(numbers);
    numbers.erase(std::ranges::unique(numbers).begin(), numbers.end());
    return numbers;
}

Result<HvmLapic> decode_lapic(const HvmRecord& record)
{
    if (record.bytes.size() != lapic_size_4_22)
        return decode_record<HvmLapic>(record);
    HvmRecord older = record;
    older.bytes.resize(lapic_size);
    return decode_record<HvmLapic>(older);
}

Result<state::Vcpu> read_vcpu(const HvmContext& context, uint16_t number)
{
    return HvmVcpuReader(context, number).read();
}

Result<state::Lapic> read_lapic(const HvmContext& context, uint16_t number, uint64_t born_hz)
{
    const HvmRecord* hidden = context.find(HvmType::Lapic, number);
    const HvmRecord* shown = context.find(HvmType::LapicRegisters, number);
    if (hidden == nullptr || shown == nullptr)
        return fail(ErrorKind::Incompatible,
                    "vCPU " + std::to_string(number) + " has no interrupt controller");
    const auto record = decode_lapic(*hidden);
    const auto registers = decode_record<HvmLapicRegisters>(*shown);
    if (!record)
        return std::unexpected(record.error());
    if (!registers)
        return std::unexpected(registers.error());
    state::Lapic lapic;
    lapic.number = number;
    lapic.base = record->base;
    take_lapic_registers(*registers, lapic);
    if ((lapic.base & LapicBase::X2apic) != 0 &&
        registers->at(LapicPlace::LogicalDestination) != x2apic_logical(lapic.id))
        return fail(ErrorKind::Incompatible, "the x2APIC of vCPU " + std::to_string(number) +
                                                 " has not the logical number that it must have");
    // Xen keeps the divisor beside the register, and does not look there again.
    state::set_free_timer(lapic, {record->timer_divisor, registers->at(LapicPlace::InitialCount)},
                          state::xen_lapic_hz, born_hz);
    return lapic;
}

} // namespace drover::xen
