// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/state/fields.h"

namespace drover::state {

/// The 82093AA that devices' interrupts go through. Kind "ioapic", version 1.
struct IoApic {
    static constexpr const char* kind = "ioapic";
    static constexpr uint32_t version = 1;

    uint64_t address = 0; ///< in guest-physical memory
    uint32_t id = 0;
    uint32_t select = 0;               ///< the register that is looked at
    std::vector<uint64_t> redirection; ///< an entry a pin: 24 with QEMU, 48 with Xen
    uint64_t lines = 0;                ///< a bit a pin: 1 is asserted
};

template <class Visitor, PartOrConst<IoApic> Self> void describe(Visitor& visitor, Self& it)
{
    visitor.field({"address", "", "82093AA 3.1"}, it.address);
    visitor.field({"id", "", "82093AA 3.2.1"}, it.id);
    visitor.field({"select", "", "82093AA 3.1.1"}, it.select);
    visitor.field({"redirection", "", "82093AA 3.2.4"}, it.redirection);
    visitor.field({"lines", "", "82093AA 2.0"}, it.lines);
}

} // namespace drover::state
