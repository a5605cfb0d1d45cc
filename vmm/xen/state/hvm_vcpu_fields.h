// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/state/vcpu.h"
#include "vmm/xen/state/hvm_cpu_layout.h"

/// Where the fields of a vCPU stand in Xen's records: both ways go by these tables.
namespace drover::xen {

struct CpuMsrField {
    uint64_t HvmCpu::*field;
    uint32_t index;
};

constexpr CpuMsrField cpu_msr_fields[] = {
    {&HvmCpu::sysenter_cs, 0x174},    {&HvmCpu::sysenter_esp, 0x175},
    {&HvmCpu::sysenter_eip, 0x176},   {&HvmCpu::efer, 0xc0000080},
    {&HvmCpu::star, 0xc0000081},      {&HvmCpu::lstar, 0xc0000082},
    {&HvmCpu::cstar, 0xc0000083},     {&HvmCpu::syscall_mask, 0xc0000084},
    {&HvmCpu::shadow_gs, 0xc0000102}, {&HvmCpu::tsc_aux, 0xc0000103},
};

/// Those that CPU_MSR may hold, in the order in which Xen writes them.
constexpr uint32_t listed_msrs[] = {0x48,       0x140,      0xd90,      0xda0,     0xc001011f,
                                    0xc0011027, 0xc0011019, 0xc001101a, 0xc001101b};

struct MsrIndex {
    enum : uint32_t {
        TscAdjust = 0x3b,
        McgCap = 0x179,
        FirstVariableMtrr = 0x200,
        Pat = 0x277,
        FirstBankControl = 0x280,
        DefaultMtrr = 0x2ff,
        McgExtendedControl = 0x4d0,
        TscDeadline = 0x6e0,
        Efer = 0xc0000080,
    };
};

constexpr std::array<uint32_t, 11> fixed_mtrr_msrs = {0x250, 0x258, 0x259, 0x268, 0x269, 0x26a,
                                                      0x26b, 0x26c, 0x26d, 0x26e, 0x26f};

/// By HvmSegment.
constexpr std::array<state::SegmentName, hvm_segments> segment_names = {
    state::Cs, state::Ds, state::Es, state::Fs, state::Gs, state::Ss, state::Tr, state::Ldtr};

/// Of the registers in Xen's order, which of the neutral ones each is.
constexpr std::array<size_t, 16> general_order = {0, 3, 1,  2,  5,  6,  7,  4,
                                                  8, 9, 10, 11, 12, 13, 14, 15};

/// HvmCpu::pending_event, as AMD's EVENTINJ and Intel's interruption information have it.
struct PendingBits {
    enum : uint32_t {
        Vector = 0xff,
        TypeShift = 8,
        Type = 7,
        HasErrorCode = 1U << 11,
        Reserved = 0x7ffff000,
        Valid = 1U << 31,
    };
};
struct PendingType {
    enum : uint32_t { Interrupt = 0, Nmi = 2, Exception = 3 };
};

/// XCR0's components.
struct Xcomponent {
    enum : uint64_t { X87 = 1, Sse = 2, Avx = 4, Carried = X87 | Sse | Avx };
};

constexpr uint16_t x87_top(uint16_t fsw)
{
    return fsw >> 11 & 7;
}

/// After FNINIT, and after a reset (SDM1 8.1.5, 10.2.3).
constexpr uint16_t initial_fcw = 0x37f;
constexpr uint32_t initial_mxcsr = 0x1f80;
constexpr uint64_t initial_smbase = 0x30000; ///< SDM3 31.11

/// Registers of the interrupt controller, by their places in LAPIC_REGS.
struct LapicPlace {
    enum : size_t {
        Id = 0x20,
        Version = 0x30,
        TaskPriority = 0x80,
        LogicalDestination = 0xd0,
        DestinationFormat = 0xe0,
        Spurious = 0xf0,
        InService = 0x100,
        TriggerMode = 0x180,
        Requested = 0x200,
        ErrorStatus = 0x280,
        CommandLow = 0x300,
        CommandHigh = 0x310,
        LocalVectors = 0x320,
        InitialCount = 0x380,
        DivideConfiguration = 0x3e0,
        Apart = 0x10, ///< one from the next
    };
};
struct LapicBase {
    enum : uint64_t { X2apic = 1U << 10, Enabled = 1U << 11 };
};
constexpr uint32_t lapic_on = 0x100; ///< in the spurious vector's register
struct LapicDisabled {
    enum : uint32_t { Hardware = 1, Software = 2 };
};
/// Six local vectors, of an integrated APIC.
constexpr uint32_t xen_lapic_version = 0x50014;

/// An x2APIC's logical destination follows from its number (SDM3 11.12.10.2).
constexpr uint32_t x2apic_logical(uint32_t id)
{
    return (id >> 4) << 16 | 1U << (id & 15);
}

} // namespace drover::xen
