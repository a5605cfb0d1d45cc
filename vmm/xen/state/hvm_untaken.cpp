// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/xen/state/hvm_untaken.h"

#include <algorithm>

namespace drover::xen {

namespace {

constexpr size_t whole = SIZE_MAX;

constexpr UntakenBytes untaken[] = {
    {HvmType::Header, 0, 8, "magic, version", "the format's own"},
    {HvmType::Header, 8, 8, "changeset", "which Xen it was"},
    {HvmType::Header, 16, 4, "cpuid", "which CPU the host had"},
    {HvmType::Cpu, 5, 1, "fpu_regs reserved", "no register"},
    {HvmType::Cpu, 28, 4, "fpu_regs mxcsr_mask", "the CPU's own"},
    {HvmType::Cpu, 42, 6, "fpu_regs st0 reserved", "no register"},
    {HvmType::Cpu, 58, 6, "fpu_regs st1 reserved", "no register"},
    {HvmType::Cpu, 74, 6, "fpu_regs st2 reserved", "no register"},
    {HvmType::Cpu, 90, 6, "fpu_regs st3 reserved", "no register"},
    {HvmType::Cpu, 106, 6, "fpu_regs st4 reserved", "no register"},
    {HvmType::Cpu, 122, 6, "fpu_regs st5 reserved", "no register"},
    {HvmType::Cpu, 138, 6, "fpu_regs st6 reserved", "no register"},
    {HvmType::Cpu, 154, 6, "fpu_regs st7 reserved", "no register"},
    {HvmType::Cpu, 416, 96, "fpu_regs unused", "no register"},
    {HvmType::Cpu, 952, 8, "msr_flags", "obsolete: Xen ignores it"},
    {HvmType::CpuXsave, 0, 8, "xfeature_mask", "the host's own: Xen ignores it"},
    {HvmType::CpuXsave, 16, 8, "xcr0_accum", "what was ever on, for the record's length"},
    {HvmType::Pic, 7, 1, "int_output", "follows from the others"},
    {HvmType::Lapic, 8, 4, "disabled", "follows from apic_base_msr and the spurious vector"},
    {HvmType::LapicRegisters, 0x30, 4, "version", "each hypervisor's own"},
    {HvmType::LapicRegisters, 0x90, 4, "arbitration priority", "no bus is arbitrated for"},
    {HvmType::LapicRegisters, 0xa0, 4, "processor priority", "follows from others"},
    {HvmType::LapicRegisters, 0x390, 4, "current count", "Xen does not keep it up to date"},
    {HvmType::Hpet, 0, whole, "all", "it does not count, and another has another speed"},
    {HvmType::Mtrr, 224, 8, "msr_mtrr_cap", "each hypervisor's own"},
};

/// Of LAPIC_REGS: a register each 16 bytes, and 32 of them not there.
bool is_lapic_register(size_t at)
{
    static constexpr size_t apart = 0x10;
    static constexpr size_t used = 4;
    static constexpr size_t single[] = {0x20,  0x30,  0x80,  0x90,  0xa0,  0xd0,  0xe0,
                                        0xf0,  0x280, 0x300, 0x310, 0x320, 0x330, 0x340,
                                        0x350, 0x360, 0x370, 0x380, 0x390, 0x3e0};
    const size_t place = at / apart * apart;
    const bool vector_bits = place >= 0x100 && place < 0x280;
    return at % apart < used &&
           (vector_bits || std::ranges::find(single, place) != std::end(single));
}

void tell_strange_lapic_bytes(const HvmRecord& record, std::vector<std::string>& told)
{
    for (size_t at = 0; at < record.bytes.size(); ++at)
        if (record.bytes[at] != std::byte{0} && !is_lapic_register(at)) {
            told.push_back("LAPIC_REGS: a register that is none: not known here");
            return;
        }
}

bool is_read_by_type(HvmType type)
{
    return type > HvmType::End && type <= HvmType::CpuMsr && type != HvmType::ViridianDomain &&
           type != HvmType::ViridianVcpu;
}

} // namespace

std::span<const UntakenBytes> untaken_bytes()
{
    return untaken;
}

void tell_untaken(const HvmContext& context, std::vector<std::string>& told)
{
    for (const UntakenBytes& bytes : untaken) {
        const bool there = std::ranges::find(context.records, bytes.type, &HvmRecord::type) !=
                           context.records.end();
        if (there)
            told.push_back(std::string(to_string(bytes.type)) + " " + bytes.field + ": " +
                           bytes.reason);
    }
    for (const HvmRecord& record : context.records) {
        if (record.type == HvmType::LapicRegisters)
            tell_strange_lapic_bytes(record, told);
        if (!is_read_by_type(record.type))
            told.push_back(name_of(record) + ": not known here");
    }
}

} // namespace drover::xen
