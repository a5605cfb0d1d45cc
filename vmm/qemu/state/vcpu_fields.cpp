// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/state/vcpu_fields.h"

#include "vmm/qemu/state/device_bytes.h"
#include "vmm/qemu/state/vcpu_msrs.h"

#include <algorithm>

namespace drover::qemu {

namespace {

using state::PartOrConst;
using state::Vcpu;

// Bits of QEMU's own flags (target/i386/cpu.h).
struct Hflags {
    enum : uint32_t {
        InterruptShadow = 1U << 3,
        Code32 = 1U << 4,
        Stack32 = 1U << 5,
        AddSegments = 1U << 6,
        Protected = 1U << 7,
        Trap = 1U << 8,
        CoprocessorMonitored = 1U << 9,
        CoprocessorEmulated = 1U << 10,
        TaskSwitched = 1U << 11,
        LongMode = 1U << 14,
        Code64 = 1U << 15,
        Virtual8086 = 1U << 17,
        Smm = 1U << 19,
        Svm = 1U << 20,
        FxSave = 1U << 22,
        Smap = 1U << 23,
        Umip = 1U << 27,
        Avx = 1U << 28,
    };
};
constexpr uint32_t hflag2_nmi_masked = 1U << 2;

/// KVM_MP_STATE_… of Linux' KVM API, 4.38; QEMU keeps it under TCG too, always 0 there.
struct KvmRunState {
    enum : uint64_t { Runnable, Uninitialized, InitReceived, Halted, SipiReceived };
};

constexpr uint32_t efer_msr = 0xc0000080;

constexpr const char* last_x87_subsection = "[cpu/fpop_ip_dp]";

constexpr const char* pkru_subsection = "[cpu/pkru]";
constexpr const char* pkru_field = "[cpu/pkru]/env.pkru";

struct NotCarried {
    const char* field; ///< the beginning of its name
    const char* reason;
};

constexpr NotCarried not_carried[] = {
    {"env.fpregs_format_vmstate", "how the numbers before it are laid out"},
    {"env.a20_mask", "address line 20 is never masked after the firmware"},
    {"env.vm_vmcb", "of a guest's guest under TCG"},
    {"env.tsc_offset", "of a guest's guest under TCG"},
    {"env.intercept", "of a guest's guest under TCG"},
    {"env.v_tpr", "of a guest's guest under TCG"},
    {"[cpu/tsc_khz]", "the clocks have it"},
    {"env.sipi_vector", "a vCPU that was sent one has taken it when it is paused"},
};

std::string numbered(std::string_view name, size_t number, std::string_view rest = {})
{
    return std::string(name) + "[" + std::to_string(number) + "]" + std::string(rest);
}

template <class Fields, PartOrConst<state::DescriptorTable> Self>
void map_table(Fields& fields, const std::string& name, Self& table)
{
    fields.pass_over(name + "/selector"); // a table has neither
    fields.pass_over(name + "/flags");
    fields.number(name + "/base", table.base);
    fields.number(name + "/limit", table.limit);
}

/// QEMU keeps the descriptor's upper half.
template <class Fields, PartOrConst<state::Segment> Self>
void map_segment(Fields& fields, const std::string& name, Self& segment)
{
    fields.number(name + "/selector", segment.selector);
    fields.number(name + "/base", segment.base);
    fields.number(name + "/limit", segment.limit);
    if constexpr (Fields::writes) {
        fields.set(name + "/flags",
                   (segment.attributes & 0xffU) << 8 | uint64_t{segment.attributes & 0xf00U} << 12);
    } else {
        const uint64_t flags = fields.get(name + "/flags");
        segment.attributes = static_cast<uint16_t>((flags >> 8 & 0xff) | (flags >> 12 & 0xf00));
    }
}

template <class Fields, PartOrConst<Vcpu> Self> void map_segments(Fields& fields, Self& vcpu)
{
    for (size_t i = 0; i < state::Ldtr; ++i)
        map_segment(fields, numbered("env.segs", i), vcpu.segments[i]);
    map_segment(fields, "env.ldt", vcpu.segments[state::Ldtr]);
    map_segment(fields, "env.tr", vcpu.segments[state::Tr]);
    map_table(fields, "env.gdt", vcpu.gdtr);
    map_table(fields, "env.idt", vcpu.idtr);
}

template <class Fields, PartOrConst<Vcpu> Self> void map_control(Fields& fields, Self& vcpu)
{
    constexpr size_t debug_registers = 8;
    std::array<uint64_t, debug_registers> debug = {};
    std::ranges::copy(vcpu.breakpoints, debug.begin());
    debug[6] = vcpu.dr6;
    debug[7] = vcpu.dr7;
    fields.list("env.dr", debug);
    if constexpr (!Fields::writes) {
        std::copy_n(debug.begin(), vcpu.breakpoints.size(), vcpu.breakpoints.begin());
        vcpu.dr6 = debug[6];
        vcpu.dr7 = debug[7];
    }
    fields.number("env.cr[0]", vcpu.cr0);
    fields.number("env.cr[2]", vcpu.cr2);
    fields.number("env.cr[3]", vcpu.cr3);
    fields.number("env.cr[4]", vcpu.cr4);
    fields.number("env.xcr0", vcpu.xcr0);
    fields.number("env.xstate_bv", vcpu.xstate_in_use);
}

template <class Fields, PartOrConst<Vcpu> Self> void map_floating_point(Fields& fields, Self& vcpu)
{
    const std::string last_x87 = std::string(last_x87_subsection) + "/env.";
    fields.number("env.fpuc", vcpu.fcw);
    fields.number("env.fpus_vmstate", vcpu.fsw);
    fields.number("env.fptag_vmstate", vcpu.ftw);
    fields.number("env.mxcsr", vcpu.mxcsr);
    if (fields.has(last_x87 + "fpop")) {
        fields.number(last_x87 + "fpop", vcpu.fop);
        fields.number(last_x87 + "fpip", vcpu.fip);
        fields.number(last_x87 + "fpdp", vcpu.fdp);
    }
    for (size_t i = 0; i < vcpu.x87.size(); ++i) {
        fields.number(numbered("env.fpregs", i, "/tmp/tmp_mant"), vcpu.x87[i].significand);
        fields.number(numbered("env.fpregs", i, "/tmp/tmp_exp"), vcpu.x87[i].sign_and_exponent);
    }
}

template <class Fields, PartOrConst<Vcpu> Self> void map_vectors(Fields& fields, Self& vcpu)
{
    for (size_t i = 0; i < vcpu.xmm.size(); ++i) {
        const std::string low = numbered("env.xmm_regs[0]", i);
        const std::string high = numbered("env.xmm_regs[1]", i);
        fields.number(low + "/_q_ZMMReg[0]", vcpu.xmm[i][0]);
        fields.number(low + "/_q_ZMMReg[1]", vcpu.xmm[i][1]);
        if (!fields.has(high + "/_q_ZMMReg[2]"))
            continue;
        fields.number(high + "/_q_ZMMReg[2]", vcpu.ymm_high[i][0]);
        fields.number(high + "/_q_ZMMReg[3]", vcpu.ymm_high[i][1]);
    }
}

template <class Fields, PartOrConst<Vcpu> Self> void map_plain(Fields& fields, Self& vcpu)
{
    fields.list("env.regs", vcpu.general);
    fields.number("env.eip", vcpu.rip);
    fields.number("env.eflags", vcpu.rflags);
    fields.number("env.tsc", vcpu.tsc);
    if (fields.has(pkru_field))
        fields.number(pkru_field, vcpu.pkru);
    fields.number("env.smbase", vcpu.smbase);
    map_segments(fields, vcpu);
    map_control(fields, vcpu);
    map_floating_point(fields, vcpu);
    map_vectors(fields, vcpu);
    fields.number("env.nmi_injected", vcpu.events.nmi_injected);
    fields.number("env.nmi_pending", vcpu.events.nmi_pending);
    fields.number("env.has_error_code", vcpu.events.has_error_code);
    fields.number("env.soft_interrupt", vcpu.events.interrupt_is_soft);
}

void read_events(FieldReader& fields, state::PendingEvents& events)
{
    const uint64_t flags = fields.get("env.hflags");
    events.interrupt_shadow = (flags & Hflags::InterruptShadow) != 0;
    events.smm = (flags & Hflags::Smm) != 0;
    events.nmi_masked = (fields.get("env.hflags2") & hflag2_nmi_masked) != 0;
    // -1: none.
    const auto exception = static_cast<int64_t>(fields.get("env.exception_nr"));
    events.exception = exception >= 0;
    events.vector = static_cast<uint8_t>(events.exception ? exception : 0);
    const auto interrupt = static_cast<int64_t>(fields.get("env.interrupt_injected"));
    events.interrupt = interrupt >= 0;
    events.interrupt_vector = static_cast<uint8_t>(events.interrupt ? interrupt : 0);
}

void read_run_state(FieldReader& fields, Vcpu& vcpu)
{
    switch (fields.get("env.mp_state")) {
    case KvmRunState::Uninitialized: vcpu.run_state = state::RunState::WaitsForInit; break;
    case KvmRunState::InitReceived: vcpu.run_state = state::RunState::WaitsForSipi; break;
    case KvmRunState::Halted: vcpu.run_state = state::RunState::Halted; break;
    default: break;
    }
}

uint32_t when(bool condition, uint32_t flag)
{
    return condition ? flag : 0;
}

/// What QEMU keeps of other registers for its emulation's sake; CPL, IOPL and such it derives
/// itself when it loads.
uint32_t hflags_of(const Vcpu& vcpu, uint64_t efer)
{
    // Bits of CR0, CR4, EFER, RFLAGS and of a segment's attributes: APM2 3.1, 4.7.
    const auto attribute = [&vcpu](state::SegmentName segment, unsigned bit) {
        return (vcpu.segments[segment].attributes >> bit & 1) != 0;
    };
    const bool protected_mode = (vcpu.cr0 & 1) != 0;
    const bool long_mode = (efer >> 10 & 1) != 0;
    const bool virtual_8086 = (vcpu.rflags >> 17 & 1) != 0;
    const bool code_64 = long_mode && attribute(state::Cs, 9);
    const bool code_32 = attribute(state::Cs, 10);
    const bool flat = vcpu.segments[state::Ds].base == 0 && vcpu.segments[state::Es].base == 0 &&
                      vcpu.segments[state::Ss].base == 0;
    constexpr uint64_t sse_and_avx = 6;
    const bool avx = (vcpu.cr4 >> 18 & 1) != 0 && (vcpu.xcr0 & sse_and_avx) == sse_and_avx;
    const bool adds = !code_64 && (!protected_mode || virtual_8086 || !code_32 || !flat);
    return when(vcpu.events.interrupt_shadow, Hflags::InterruptShadow) |
           when(code_64 || code_32, Hflags::Code32) |
           when(code_64 || attribute(state::Ss, 10), Hflags::Stack32) |
           when(adds, Hflags::AddSegments) | when(protected_mode, Hflags::Protected) |
           when((vcpu.rflags >> 8 & 1) != 0, Hflags::Trap) |
           when((vcpu.cr0 >> 1 & 1) != 0, Hflags::CoprocessorMonitored) |
           when((vcpu.cr0 >> 2 & 1) != 0, Hflags::CoprocessorEmulated) |
           when((vcpu.cr0 >> 3 & 1) != 0, Hflags::TaskSwitched) |
           when(long_mode, Hflags::LongMode) | when(code_64, Hflags::Code64) |
           when(virtual_8086, Hflags::Virtual8086) | when(vcpu.events.smm, Hflags::Smm) |
           when((efer >> 12 & 1) != 0, Hflags::Svm) |
           when((vcpu.cr4 >> 9 & 1) != 0, Hflags::FxSave) | when(avx, Hflags::Avx) |
           when((vcpu.cr4 >> 11 & 1) != 0, Hflags::Umip) |
           when((vcpu.cr4 >> 21 & 1) != 0, Hflags::Smap) | (uint32_t(vcpu.rflags) & 0x3000);
}

void write_events(FieldWriter& fields, const Vcpu& vcpu, uint64_t hflags2)
{
    const state::PendingEvents& events = vcpu.events;
    constexpr int64_t none = -1;
    const auto numbered_event = [](bool there, uint8_t vector) {
        return static_cast<uint64_t>(there ? int64_t{vector} : none);
    };
    fields.set("env.hflags", hflags_of(vcpu, msr_of(vcpu, efer_msr)));
    fields.set("env.hflags2", (hflags2 & ~uint64_t{hflag2_nmi_masked}) |
                                  when(events.nmi_masked, hflag2_nmi_masked));
    fields.set("env.exception_nr", numbered_event(events.exception, events.vector));
    fields.set("env.interrupt_injected", numbered_event(events.interrupt, events.interrupt_vector));
}

void write_run_state(FieldWriter& fields, const Vcpu& vcpu)
{
    switch (vcpu.run_state) {
    case state::RunState::Running: fields.set("env.mp_state", KvmRunState::Runnable); break;
    case state::RunState::Halted: fields.set("env.mp_state", KvmRunState::Halted); break;
    case state::RunState::WaitsForInit:
        fields.set("env.mp_state", KvmRunState::Uninitialized);
        break;
    case state::RunState::WaitsForSipi:
        fields.set("env.mp_state", KvmRunState::InitReceived);
        break;
    }
}

/// QEMU saves it only where there has been an x87 instruction.
void add_last_x87(state::Device& device, const Vcpu& vcpu)
{
    if ((vcpu.fop == 0 && vcpu.fip == 0 && vcpu.fdp == 0) ||
        find_field(device, last_x87_subsection) != nullptr)
        return;
    const std::string within = std::string(last_x87_subsection) + "/env.";
    device.fields.push_back({last_x87_subsection, std::string(subsection_type), {0, 0, 0, 1}});
    device.fields.push_back({within + "fpop", "uint16", std::vector<uint8_t>(sizeof(vcpu.fop))});
    device.fields.push_back({within + "fpip", "uint64", std::vector<uint8_t>(sizeof(vcpu.fip))});
    device.fields.push_back({within + "fpdp", "uint64", std::vector<uint8_t>(sizeof(vcpu.fdp))});
}

std::string reason_for(std::string_view field)
{
    for (const NotCarried& each : not_carried)
        if (field.starts_with(each.field))
            return each.reason;
    return "not known here";
}

} // namespace

Result<state::Vcpu> read_vcpu(const state::Device& device, std::vector<std::string>& told)
{
    Vcpu vcpu;
    vcpu.number = device.instance;
    FieldReader fields(device);
    map_plain(fields, vcpu);
    read_run_state(fields, vcpu);
    read_events(fields, vcpu.events);
    read_msrs(fields, vcpu);
    if (!fields.status())
        return std::unexpected(
            Error(fields.status().error()).in("vCPU " + std::to_string(device.instance)));
    for (const std::string& name : fields.left_over())
        told.push_back("cpu " + name + ": " + reason_for(name));
    return vcpu;
}

Status write_vcpu(const state::Vcpu& vcpu, state::Device& device)
{
    uint64_t hflags2 = 0;
    if (FieldReader before(device); before.has("env.hflags2"))
        hflags2 = before.get("env.hflags2");
    add_msr_subsections(device, vcpu);
    add_last_x87(device, vcpu);
    if (vcpu.pkru != 0 && find_field(device, pkru_field) == nullptr) {
        device.fields.push_back({pkru_subsection, std::string(subsection_type), {0, 0, 0, 1}});
        device.fields.push_back({pkru_field, "uint32", std::vector<uint8_t>(sizeof(vcpu.pkru))});
    }
    FieldWriter fields(device);
    map_plain(fields, vcpu);
    write_run_state(fields, vcpu);
    write_events(fields, vcpu, hflags2);
    write_msrs(fields, vcpu);
    if (!fields.status())
        return std::unexpected(
            Error(fields.status().error()).in("vCPU " + std::to_string(device.instance)));
    return {};
}

} // namespace drover::qemu
