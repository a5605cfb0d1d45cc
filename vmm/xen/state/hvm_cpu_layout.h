// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "vmm/xen/state/hvm_records.h"

#include <array>

/// The records of a vCPU as they lie in the file: Xen's public header arch-x86/hvm/save.h.
namespace drover::xen {

/// Of a field in its own records, Xen's header is the source.
[[nodiscard]] constexpr state::FieldNote hvm_field(const char* name)
{
    return {name, "", "arch-x86/hvm/save.h"};
}

/// What FXSAVE stores in 64-bit mode (SDM1 10.5.1).
struct FxsaveArea {
    uint16_t fcw = 0;
    uint16_t fsw = 0;
    uint8_t ftw = 0; ///< a bit a physical register: 1 is not empty
    uint8_t reserved = 0;
    uint16_t last_opcode = 0;
    uint64_t last_instruction = 0;
    uint64_t last_data = 0;
    uint32_t mxcsr = 0;
    uint32_t mxcsr_mask = 0;
    struct Register {
        uint64_t significand = 0;
        uint16_t sign_and_exponent = 0;
        std::array<uint8_t, 6> reserved = {};
    };
    std::array<Register, 8> st = {}; ///< from the stack's top
    std::array<std::array<uint64_t, 2>, 16> xmm = {};
    std::array<uint8_t, 96> unused = {};
};

template <class Visitor, state::PartOrConst<FxsaveArea::Register> Self>
void describe(Visitor& visitor, Self& it)
{
    visitor.field(hvm_field("significand"), it.significand);
    visitor.field(hvm_field("sign-and-exponent"), it.sign_and_exponent);
    visitor.field(hvm_field("reserved"), it.reserved);
}

template <class Visitor, state::PartOrConst<FxsaveArea> Self>
void describe(Visitor& visitor, Self& it)
{
    visitor.field(hvm_field("fcw"), it.fcw);
    visitor.field(hvm_field("fsw"), it.fsw);
    visitor.field(hvm_field("ftw"), it.ftw);
    visitor.field(hvm_field("reserved"), it.reserved);
    visitor.field(hvm_field("fop"), it.last_opcode);
    visitor.field(hvm_field("fip"), it.last_instruction);
    visitor.field(hvm_field("fdp"), it.last_data);
    visitor.field(hvm_field("mxcsr"), it.mxcsr);
    visitor.field(hvm_field("mxcsr_mask"), it.mxcsr_mask);
    visitor.field(hvm_field("st"), it.st);
    visitor.field(hvm_field("xmm"), it.xmm);
    visitor.field(hvm_field("unused"), it.unused);
}

/// Segments in Xen's order.
enum HvmSegment : size_t { HvmCs, HvmDs, HvmEs, HvmFs, HvmGs, HvmSs, HvmTr, HvmLdtr, hvm_segments };

struct HvmCpu {
    FxsaveArea fpu;
    /// RAX, RBX, RCX, RDX, RBP, RSI, RDI, RSP, R8 … R15.
    std::array<uint64_t, 16> general = {};
    uint64_t rip = 0;
    uint64_t rflags = 0;
    uint64_t cr0 = 0;
    uint64_t cr2 = 0;
    uint64_t cr3 = 0;
    uint64_t cr4 = 0;
    std::array<uint64_t, 4> breakpoints = {};
    uint64_t dr6 = 0;
    uint64_t dr7 = 0;
    std::array<uint32_t, hvm_segments> selectors = {};
    std::array<uint32_t, hvm_segments> limits = {};
    uint32_t idtr_limit = 0;
    uint32_t gdtr_limit = 0;
    std::array<uint64_t, hvm_segments> bases = {};
    uint64_t idtr_base = 0;
    uint64_t gdtr_base = 0;
    std::array<uint32_t, hvm_segments> attributes = {};
    uint64_t sysenter_cs = 0;
    uint64_t sysenter_esp = 0;
    uint64_t sysenter_eip = 0;
    uint64_t shadow_gs = 0;
    uint64_t msr_flags = 0;
    uint64_t lstar = 0;
    uint64_t star = 0;
    uint64_t cstar = 0;
    uint64_t syscall_mask = 0;
    uint64_t efer = 0;
    uint64_t tsc_aux = 0;
    uint64_t tsc = 0;
    uint32_t pending_event = 0;
    uint32_t error_code = 0;
    uint32_t flags = 0;
    uint32_t pad = 0;
};
constexpr uint32_t fpu_initialised = 1; ///< in HvmCpu::flags

template <class Visitor, state::PartOrConst<HvmCpu> Self> void describe(Visitor& visitor, Self& it)
{
    visitor.field(hvm_field("fpu_regs"), it.fpu);
    visitor.field(hvm_field("general"), it.general);
    visitor.field(hvm_field("rip"), it.rip);
    visitor.field(hvm_field("rflags"), it.rflags);
    visitor.field(hvm_field("cr0"), it.cr0);
    visitor.field(hvm_field("cr2"), it.cr2);
    visitor.field(hvm_field("cr3"), it.cr3);
    visitor.field(hvm_field("cr4"), it.cr4);
    visitor.field(hvm_field("dr0-3"), it.breakpoints);
    visitor.field(hvm_field("dr6"), it.dr6);
    visitor.field(hvm_field("dr7"), it.dr7);
    visitor.field(hvm_field("sel"), it.selectors);
    visitor.field(hvm_field("limit"), it.limits);
    visitor.field(hvm_field("idtr_limit"), it.idtr_limit);
    visitor.field(hvm_field("gdtr_limit"), it.gdtr_limit);
    visitor.field(hvm_field("base"), it.bases);
    visitor.field(hvm_field("idtr_base"), it.idtr_base);
    visitor.field(hvm_field("gdtr_base"), it.gdtr_base);
    visitor.field(hvm_field("arbytes"), it.attributes);
    visitor.field(hvm_field("sysenter_cs"), it.sysenter_cs);
    visitor.field(hvm_field("sysenter_esp"), it.sysenter_esp);
    visitor.field(hvm_field("sysenter_eip"), it.sysenter_eip);
    visitor.field(hvm_field("shadow_gs"), it.shadow_gs);
    visitor.field(hvm_field("msr_flags"), it.msr_flags);
    visitor.field(hvm_field("msr_lstar"), it.lstar);
    visitor.field(hvm_field("msr_star"), it.star);
    visitor.field(hvm_field("msr_cstar"), it.cstar);
    visitor.field(hvm_field("msr_syscall_mask"), it.syscall_mask);
    visitor.field(hvm_field("msr_efer"), it.efer);
    visitor.field(hvm_field("msr_tsc_aux"), it.tsc_aux);
    visitor.field(hvm_field("tsc"), it.tsc);
    visitor.field(hvm_field("pending_event"), it.pending_event);
    visitor.field(hvm_field("error_code"), it.error_code);
    visitor.field(hvm_field("flags"), it.flags);
    visitor.field(hvm_field("pad0"), it.pad);
}

/// The beginning of CPU_XSAVE; components 2 and on follow as XSAVE has them.
struct HvmXsave {
    uint64_t feature_mask = 0;
    uint64_t xcr0 = 0;
    uint64_t xcr0_accum = 0; ///< what was ever on
    FxsaveArea fpu;
    uint64_t in_use = 0;  ///< XSTATE_BV
    uint64_t compact = 0; ///< XCOMP_BV
    std::array<uint64_t, 6> reserved = {};
};

template <class Visitor, state::PartOrConst<HvmXsave> Self>
void describe(Visitor& visitor, Self& it)
{
    visitor.field(hvm_field("xfeature_mask"), it.feature_mask);
    visitor.field(hvm_field("xcr0"), it.xcr0);
    visitor.field(hvm_field("xcr0_accum"), it.xcr0_accum);
    visitor.field(hvm_field("fpu_sse"), it.fpu);
    visitor.field(hvm_field("xstate_bv"), it.in_use);
    visitor.field(hvm_field("xcomp_bv"), it.compact);
    visitor.field(hvm_field("reserved"), it.reserved);
}

struct HvmMtrr {
    uint64_t pat = 0;
    std::array<uint64_t, 16> variable = {}; ///< base and mask in turn
    std::array<uint64_t, 11> fixed = {};
    uint64_t capabilities = 0;
    uint64_t default_type = 0;
};

template <class Visitor, state::PartOrConst<HvmMtrr> Self> void describe(Visitor& visitor, Self& it)
{
    visitor.field(hvm_field("msr_pat_cr"), it.pat);
    visitor.field(hvm_field("msr_mtrr_var"), it.variable);
    visitor.field(hvm_field("msr_mtrr_fixed"), it.fixed);
    visitor.field(hvm_field("msr_mtrr_cap"), it.capabilities);
    visitor.field(hvm_field("msr_mtrr_def_type"), it.default_type);
}

struct HvmVmce {
    uint64_t capabilities = 0;
    std::array<uint64_t, 2> bank_control = {};
    uint64_t extended_control = 0;
};

template <class Visitor, state::PartOrConst<HvmVmce> Self> void describe(Visitor& visitor, Self& it)
{
    visitor.field(hvm_field("caps"), it.capabilities);
    visitor.field(hvm_field("mci_ctl2"), it.bank_control);
    visitor.field(hvm_field("mcg_ext_ctl"), it.extended_control);
}

struct HvmTscAdjust {
    uint64_t adjust = 0;
};

template <class Visitor, state::PartOrConst<HvmTscAdjust> Self>
void describe(Visitor& visitor, Self& it)
{
    visitor.field(hvm_field("tsc_adjust"), it.adjust);
}

struct HvmMsr {
    uint32_t index = 0;
    uint32_t reserved = 0;
    uint64_t value = 0;
};

template <class Visitor, state::PartOrConst<HvmMsr> Self> void describe(Visitor& visitor, Self& it)
{
    visitor.field(hvm_field("index"), it.index);
    visitor.field(hvm_field("_rsvd"), it.reserved);
    visitor.field(hvm_field("val"), it.value);
}

/// The beginning of CPU_MSR, behind which are as many HvmMsr.
struct HvmMsrCount {
    uint32_t count = 0;
    uint32_t pad = 0; ///< the compiler's
};

template <class Visitor, state::PartOrConst<HvmMsrCount> Self>
void describe(Visitor& visitor, Self& it)
{
    visitor.field(hvm_field("count"), it.count);
    visitor.field(hvm_field("pad"), it.pad);
}

struct HvmLapic {
    uint64_t base = 0;
    uint32_t disabled = 0;
    uint32_t timer_divisor = 0;
    uint64_t tsc_deadline = 0;
};

template <class Visitor, state::PartOrConst<HvmLapic> Self>
void describe(Visitor& visitor, Self& it)
{
    visitor.field(hvm_field("apic_base_msr"), it.base);
    visitor.field(hvm_field("disabled"), it.disabled);
    visitor.field(hvm_field("timer_divisor"), it.timer_divisor);
    visitor.field(hvm_field("tdt_msr"), it.tsc_deadline);
}

/// A register each 16 bytes, of which 4 are used.
struct HvmLapicRegisters {
    static constexpr size_t words = 256;
    std::array<uint32_t, words> data = {};

    [[nodiscard]] uint32_t& at(size_t offset) { return data[offset / sizeof(uint32_t)]; }
    [[nodiscard]] uint32_t at(size_t offset) const { return data[offset / sizeof(uint32_t)]; }
};

template <class Visitor, state::PartOrConst<HvmLapicRegisters> Self>
void describe(Visitor& visitor, Self& it)
{
    visitor.field(hvm_field("data"), it.data);
}

} // namespace drover::xen
