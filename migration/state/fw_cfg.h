// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/state/fields.h"

namespace drover::state {

/// QEMU's door to the files that it has for a guest's firmware: what was selected there last. The
/// files follow from how the machine was started. Kind "fw-cfg", version 1.
struct FwCfg {
    static constexpr const char* kind = "fw-cfg";
    static constexpr uint32_t version = 1;

    uint16_t selected = 0;
    uint32_t offset = 0; ///< bytes, in what is selected
    uint64_t dma_address = 0;
    uint64_t tables_size = 0; ///< bytes, of the ACPI tables' files; 0: of no matter
    uint64_t linker_size = 0;
    uint64_t rsdp_size = 0;
};

template <class Visitor, PartOrConst<FwCfg> Self> void describe(Visitor& visitor, Self& it)
{
    visitor.field({"selected", "", "QEMU's docs/specs/fw_cfg"}, it.selected);
    visitor.field({"offset", "bytes", "QEMU's docs/specs/fw_cfg"}, it.offset);
    visitor.field({"dma-address", "", "QEMU's docs/specs/fw_cfg"}, it.dma_address);
    visitor.field({"tables-size", "bytes", "ours"}, it.tables_size);
    visitor.field({"linker-size", "bytes", "ours"}, it.linker_size);
    visitor.field({"rsdp-size", "bytes", "ours"}, it.rsdp_size);
}

} // namespace drover::state
