// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/state/fields.h"

#include <optional>
#include <string_view>

namespace drover::xen {

/// The parts of the state that Xen's hypervisor keeps of an HVM guest, by their numbers in its
/// public header arch-x86/hvm/save.h.
enum class HvmType : uint16_t {
    End = 0,
    Header = 1,
    Cpu = 2,
    Pic = 3,
    IoApic = 4,
    Lapic = 5,
    LapicRegisters = 6,
    PciIrq = 7,
    IsaIrq = 8,
    PciLink = 9,
    Pit = 10,
    Rtc = 11,
    Hpet = 12,
    PmTimer = 13,
    Mtrr = 14,
    ViridianDomain = 15,
    CpuXsave = 16,
    ViridianVcpu = 17,
    VmceVcpu = 18,
    TscAdjust = 19,
    CpuMsr = 20,
};
/// "CPU"; empty: not known here.
[[nodiscard]] std::string_view to_string(HvmType type);

struct HvmRecord {
    HvmType type = HvmType::End;
    uint16_t instance = 0; ///< of a vCPU's: its number
    std::vector<std::byte> bytes;
};

/// All records, without the one that ends them.
struct HvmContext {
    std::vector<HvmRecord> records;

    [[nodiscard]] const HvmRecord* find(HvmType type, uint16_t instance = 0) const;
    template <class Record> void add(HvmType type, size_t instance, const Record& record)
    {
        records.push_back({type, static_cast<uint16_t>(instance), state::encode(record)});
    }
    /// Into Xen's own order: by type, then by instance.
    void sort();
};

/// Errors are of kind Protocol. Types that are not known here are no error.
[[nodiscard]] Result<HvmContext> split_hvm_context(std::span<const std::byte> bytes);
[[nodiscard]] std::vector<std::byte> join_hvm_context(const HvmContext& context);

/// "CPU 0".
[[nodiscard]] std::string name_of(const HvmRecord& record);
[[nodiscard]] std::unexpected<Error> wrong_size(const HvmRecord& record);

/// A record by its layout, of which all bytes must be there.
template <class Record> [[nodiscard]] Result<Record> decode_record(const HvmRecord& record)
{
    Record decoded;
    state::Decoder decoder(record.bytes);
    describe(decoder, decoded);
    if (!decoder.good() || decoder.left() != 0)
        return wrong_size(record);
    return decoded;
}

} // namespace drover::xen
