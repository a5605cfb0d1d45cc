// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/state/fields.h"

namespace drover::state {

/// Manuals that the fields' meanings are taken from: AMD64 Architecture Programmer's Manual volume
/// 2 (APM2), Intel 64 Software Developer's Manual volumes 1 and 3 (SDM1, SDM3).

struct Segment {
    uint16_t selector = 0;
    uint64_t base = 0;
    uint32_t limit = 0; ///< in bytes, whatever its granularity
    /// Descriptor bits 40..47 in 0..7, bits 52..55 in 8..11: AMD's VMCB and Xen have them so.
    uint16_t attributes = 0;
};

template <class Visitor, PartOrConst<Segment> Self> void describe(Visitor& visitor, Self& it)
{
    visitor.field({"selector", "", "APM2 4.5.1"}, it.selector);
    visitor.field({"base", "", "APM2 4.5.3"}, it.base);
    visitor.field({"limit", "", "APM2 4.5.3"}, it.limit);
    visitor.field({"attributes", "", "APM2 15.5.1"}, it.attributes);
}

struct DescriptorTable {
    uint64_t base = 0;
    uint16_t limit = 0;
};

template <class Visitor, PartOrConst<DescriptorTable> Self>
void describe(Visitor& visitor, Self& it)
{
    visitor.field({"base", "", "APM2 4.6.2"}, it.base);
    visitor.field({"limit", "", "APM2 4.6.2"}, it.limit);
}

/// 80 bits, in their two parts.
struct X87Register {
    uint64_t significand = 0;
    uint16_t sign_and_exponent = 0;
};

template <class Visitor, PartOrConst<X87Register> Self> void describe(Visitor& visitor, Self& it)
{
    visitor.field({"significand", "", "SDM1 8.1.2"}, it.significand);
    visitor.field({"sign-and-exponent", "", "SDM1 8.1.2"}, it.sign_and_exponent);
}

struct Msr {
    uint32_t index = 0;
    uint64_t value = 0;
};

template <class Visitor, PartOrConst<Msr> Self> void describe(Visitor& visitor, Self& it)
{
    visitor.field({"index", "", "SDM4 2, APM2 appendix A"}, it.index);
    visitor.field({"value", "", "SDM4 2, APM2 appendix A"}, it.value);
}

enum class RunState : uint8_t { Running, Halted, WaitsForInit, WaitsForSipi };
[[nodiscard]] std::string_view to_string(RunState state);
[[nodiscard]] constexpr bool is_one_of(RunState state)
{
    return state <= RunState::WaitsForSipi;
}

/// What was on its way into the guest when it was paused.
struct PendingEvents {
    bool exception = false; ///< `vector` was being delivered, with `error_code` if it has one
    bool has_error_code = false;
    uint8_t vector = 0;
    uint32_t error_code = 0;
    bool interrupt = false; ///< taken from the interrupt controller, and not yet delivered
    bool interrupt_is_soft = false;
    uint8_t interrupt_vector = 0;
    bool nmi_injected = false; ///< being delivered
    bool nmi_pending = false;  ///< waits
    bool nmi_masked = false;   ///< until the next IRET
    bool interrupt_shadow = false;
    bool smm = false; ///< in system management mode
};

template <class Visitor, PartOrConst<PendingEvents> Self> void describe(Visitor& visitor, Self& it)
{
    visitor.field({"exception", "", "APM2 15.20"}, it.exception);
    visitor.field({"has-error-code", "", "APM2 15.20"}, it.has_error_code);
    visitor.field({"vector", "", "APM2 15.20"}, it.vector);
    visitor.field({"error-code", "", "APM2 15.20"}, it.error_code);
    visitor.field({"interrupt", "", "APM2 15.20"}, it.interrupt);
    visitor.field({"interrupt-is-soft", "", "APM2 15.20"}, it.interrupt_is_soft);
    visitor.field({"interrupt-vector", "", "APM2 15.20"}, it.interrupt_vector);
    visitor.field({"nmi-injected", "", "SDM3 6.7"}, it.nmi_injected);
    visitor.field({"nmi-pending", "", "SDM3 6.7"}, it.nmi_pending);
    visitor.field({"nmi-masked", "", "SDM3 6.7.1"}, it.nmi_masked);
    visitor.field({"interrupt-shadow", "", "APM2 15.21.5"}, it.interrupt_shadow);
    visitor.field({"smm", "", "APM2 10.3"}, it.smm);
}

enum SegmentName : size_t { Es, Cs, Ss, Ds, Fs, Gs, Ldtr, Tr, segment_count };

/// One virtual CPU, paused. Kind "vcpu", version 1.
struct Vcpu {
    static constexpr const char* kind = "vcpu";
    static constexpr uint32_t version = 1;

    uint32_t number = 0; ///< among the guest's, from 0
    RunState run_state = RunState::Running;
    /// RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8 … R15: the order of their numbers in
    /// instructions.
    std::array<uint64_t, 16> general = {};
    uint64_t rip = 0;
    uint64_t rflags = 0;
    std::array<Segment, segment_count> segments = {}; ///< by SegmentName
    DescriptorTable gdtr;
    DescriptorTable idtr;
    uint64_t cr0 = 0;
    uint64_t cr2 = 0;
    uint64_t cr3 = 0;
    uint64_t cr4 = 0;
    std::array<uint64_t, 4> breakpoints = {}; ///< DR0 … DR3
    uint64_t dr6 = 0;
    uint64_t dr7 = 0;
    uint16_t fcw = 0;
    uint16_t fsw = 0;                    ///< TOP in it
    uint8_t ftw = 0;                     ///< a bit a physical register: 1 is not empty
    std::array<X87Register, 8> x87 = {}; ///< physical registers, not by the stack's top
    uint16_t fop = 0;                    ///< the last x87 instruction's opcode, 11 bits,
    uint64_t fip = 0;                    ///< its address,
    uint64_t fdp = 0;                    ///< and its operand's
    uint32_t mxcsr = 0;
    std::array<std::array<uint64_t, 2>, 16> xmm = {};      ///< low half first
    std::array<std::array<uint64_t, 2>, 16> ymm_high = {}; ///< bits 128 … 255
    uint64_t xcr0 = 0;
    uint64_t xstate_in_use = 0; ///< XSTATE_BV: other components are as after a reset
    uint32_t pkru = 0;          ///< rights of protection keys
    uint64_t tsc = 0;           ///< when it was paused
    uint64_t smbase = 0;        ///< where system management mode begins; firmware's
    PendingEvents events;
    /// By index, ascending. Those of KVM's own interface (0x4b564d00 …) are here too: a guest that
    /// uses one can only go where there is KVM.
    std::vector<Msr> msrs;
};

template <class Visitor, PartOrConst<Vcpu> Self> void describe(Visitor& visitor, Self& it)
{
    visitor.field({"number", "", "ours"}, it.number);
    visitor.field({"run-state", "", "SDM3 8.4"}, it.run_state);
    visitor.field({"general", "", "APM2 3.1"}, it.general);
    visitor.field({"rip", "", "APM2 3.1"}, it.rip);
    visitor.field({"rflags", "", "APM2 3.1.6"}, it.rflags);
    visitor.field({"segments", "", "APM2 4.5"}, it.segments);
    visitor.field({"gdtr", "", "APM2 4.6.2"}, it.gdtr);
    visitor.field({"idtr", "", "APM2 4.6.5"}, it.idtr);
    visitor.field({"cr0", "", "APM2 3.1.1"}, it.cr0);
    visitor.field({"cr2", "", "APM2 3.1.2"}, it.cr2);
    visitor.field({"cr3", "", "APM2 3.1.2"}, it.cr3);
    visitor.field({"cr4", "", "APM2 3.1.3"}, it.cr4);
    visitor.field({"breakpoints", "", "APM2 13.1.1"}, it.breakpoints);
    visitor.field({"dr6", "", "APM2 13.1.1"}, it.dr6);
    visitor.field({"dr7", "", "APM2 13.1.1"}, it.dr7);
    visitor.field({"fcw", "", "SDM1 8.1.5"}, it.fcw);
    visitor.field({"fsw", "", "SDM1 8.1.3"}, it.fsw);
    visitor.field({"ftw", "", "SDM1 10.5.1.1"}, it.ftw);
    visitor.field({"x87", "", "SDM1 8.1.2"}, it.x87);
    visitor.field({"fop", "", "SDM1 8.1.9"}, it.fop);
    visitor.field({"fip", "", "SDM1 8.1.8"}, it.fip);
    visitor.field({"fdp", "", "SDM1 8.1.8"}, it.fdp);
    visitor.field({"mxcsr", "", "SDM1 10.2.3"}, it.mxcsr);
    visitor.field({"xmm", "", "SDM1 10.2.2"}, it.xmm);
    visitor.field({"ymm-high", "", "SDM1 14.1.1"}, it.ymm_high);
    visitor.field({"xcr0", "", "SDM3 2.6"}, it.xcr0);
    visitor.field({"xstate-in-use", "", "SDM1 13.4.2"}, it.xstate_in_use);
    visitor.field({"pkru", "", "SDM1 13.5.7"}, it.pkru);
    visitor.field({"tsc", "ticks", "SDM3 17.17"}, it.tsc);
    visitor.field({"smbase", "", "SDM3 31.11"}, it.smbase);
    visitor.field({"events", "", "APM2 15.20"}, it.events);
    visitor.field({"msrs", "", "SDM4 2"}, it.msrs);
}

} // namespace drover::state
