// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/xen/state/hvm_untaken.h"

#include "vmm/xen/state/hvm_vcpu.h"
#include "vmm/xen/state/hvm_vcpu_fields.h"

#include <algorithm>

namespace drover::xen {

namespace {

constexpr size_t whole = SIZE_MAX;

/// What FXSAVE's area has between its registers.
struct FxsaveHole {
    size_t at;
    size_t size;
    const char* field;
    const char* reason;
};
constexpr FxsaveHole fxsave_holes[] = {
    {5, 1, "fpu_regs reserved", "no register"},   {28, 4, "fpu_regs mxcsr_mask", "the CPU's own"},
    {42, 6, "fpu_regs reserved", "no register"},  {58, 6, "fpu_regs reserved", "no register"},
    {74, 6, "fpu_regs reserved", "no register"},  {90, 6, "fpu_regs reserved", "no register"},
    {106, 6, "fpu_regs reserved", "no register"}, {122, 6, "fpu_regs reserved", "no register"},
    {138, 6, "fpu_regs reserved", "no register"}, {154, 6, "fpu_regs reserved", "no register"},
    {416, 96, "fpu_regs unused", "no register"},
};
constexpr size_t xsave_fpu_place = 24;

constexpr UntakenBytes others[] = {
    {HvmType::Header, 0, 8, "magic, version", "the format's own"},
    {HvmType::Header, 8, 8, "changeset", "which Xen it was"},
    {HvmType::Header, 16, 4, "cpuid", "which CPU the host had"},
    {HvmType::Cpu, 952, 8, "msr_flags", "obsolete: Xen ignores it"},
    {HvmType::CpuXsave, 0, 8, "xfeature_mask", "the host's own: Xen ignores it"},
    {HvmType::CpuXsave, 16, 8, "xcr0_accum", "what was ever on, for the record's length"},
    {HvmType::Pic, 7, 1, "int_output", "follows from the others"},
    {HvmType::Lapic, 8, 4, "disabled", "follows from apic_base_msr and the spurious vector"},
    {HvmType::Lapic, 24, 8, "pending_esr", "errors that software has not asked for yet"},
    {HvmType::LapicRegisters, 0x30, 4, "version", "each hypervisor's own"},
    {HvmType::LapicRegisters, 0x90, 4, "arbitration priority", "no bus is arbitrated for"},
    {HvmType::LapicRegisters, 0xa0, 4, "processor priority", "follows from others"},
    {HvmType::LapicRegisters, 0x390, 4, "current count", "Xen does not keep it up to date"},
    {HvmType::Hpet, 0, whole, "all", "it does not count, and another has another speed"},
    {HvmType::Mtrr, 224, 8, "msr_mtrr_cap", "each hypervisor's own"},
};

bool has_record(const HvmContext& context, HvmType type)
{
    return std::ranges::find(context.records, type, &HvmRecord::type) != context.records.end();
}

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

/// Bits that are not software's to set, outside of an x2APIC (SDM3 11.4.6, 11.6.2.2).
bool has_strange_numbers(const HvmLapicRegisters& registers)
{
    static constexpr uint32_t below_number = 0x00ffffff;
    static constexpr uint32_t below_format = 0x0fffffff;
    return (registers.at(LapicPlace::Id) & below_number) != 0 ||
           (registers.at(LapicPlace::LogicalDestination) & below_number) != 0 ||
           (registers.at(LapicPlace::DestinationFormat) & below_format) != below_format;
}

void tell_strange_lapic(const HvmContext& context, const HvmRecord& record,
                        std::vector<std::string>& told)
{
    const HvmRecord* hidden = context.find(HvmType::Lapic, record.instance);
    const auto base = hidden != nullptr ? decode_lapic(*hidden) : HvmLapic();
    const auto registers = decode_record<HvmLapicRegisters>(record);
    const bool x2apic = base && (base->base & LapicBase::X2apic) != 0;
    bool strange = !x2apic && registers && has_strange_numbers(*registers);
    for (size_t at = 0; at < record.bytes.size(); ++at)
        strange = strange || (record.bytes[at] != std::byte{0} && !is_lapic_register(at));
    if (strange)
        told.emplace_back("LAPIC_REGS: bits that no register has: not known here");
}

bool is_read_by_type(HvmType type)
{
    return type > HvmType::End && type <= HvmType::CpuMsr && type != HvmType::ViridianDomain &&
           type != HvmType::ViridianVcpu;
}

} // namespace

std::vector<UntakenBytes> untaken_bytes()
{
    std::vector<UntakenBytes> bytes(std::begin(others), std::end(others));
    for (const FxsaveHole& hole : fxsave_holes) {
        bytes.push_back({HvmType::Cpu, hole.at, hole.size, hole.field, hole.reason});
        bytes.push_back(
            {HvmType::CpuXsave, xsave_fpu_place + hole.at, hole.size, hole.field, hole.reason});
    }
    return bytes;
}

void tell_untaken(const HvmContext& context, std::vector<std::string>& told)
{
    for (const UntakenBytes& bytes : untaken_bytes())
        if (has_record(context, bytes.type))
            told.push_back(std::string(to_string(bytes.type)) + " " + bytes.field + ": " +
                           bytes.reason);
    if (has_record(context, HvmType::CpuXsave))
        told.emplace_back("CPU fpu_regs: CPU_XSAVE has the same");
    for (const HvmRecord& record : context.records) {
        if (record.type == HvmType::LapicRegisters)
            tell_strange_lapic(context, record, told);
        if (!is_read_by_type(record.type))
            told.push_back(name_of(record) + ": not known here");
    }
}

} // namespace drover::xen
