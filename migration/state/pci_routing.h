// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/state/fields.h"

namespace drover::state {

/// A function on the PCI bus that asserts its interrupt lines.
struct PciLines {
    uint8_t devfn = 0;    ///< slot × 8 + function
    uint8_t asserted = 0; ///< bit 0 is INTA
};

template <class Visitor, PartOrConst<PciLines> Self> void describe(Visitor& visitor, Self& it)
{
    visitor.field({"devfn", "", "PCI 3.0 3.2.2.3.2"}, it.devfn);
    visitor.field({"asserted", "", "PCI 3.0 2.2.6"}, it.asserted);
}

/// How PCI devices' interrupt lines come to the interrupt controllers. The devices' own
/// configuration is theirs. Kind "pci-routing", version 1.
struct PciRouting {
    static constexpr const char* kind = "pci-routing";
    static constexpr uint32_t version = 1;

    uint32_t address = 0; ///< what was written to port 0xcf8
    /// Which ISA interrupt each of the lines goes to that devices' pins are wired to; 0: none.
    /// Line 0 is the one of slot 0's INTA. (QEMU wires slot and pin to line (slot + pin - 1) & 3,
    /// and Xen to (slot + pin) & 3; this has Xen's numbers.)
    std::array<uint8_t, 4> route = {};
    std::vector<PciLines> lines; ///< of the functions that assert one
};

template <class Visitor, PartOrConst<PciRouting> Self> void describe(Visitor& visitor, Self& it)
{
    visitor.field({"address", "", "PCI 3.0 3.2.2.3.2"}, it.address);
    visitor.field({"route", "", "82371AB 4.1.10"}, it.route);
    visitor.field({"lines", "", "PCI 3.0 2.2.6"}, it.lines);
}

} // namespace drover::state
