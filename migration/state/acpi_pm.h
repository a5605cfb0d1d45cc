// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/state/fields.h"

namespace drover::state {

/// The registers of ACPI's fixed hardware. Kind "acpi-pm", version 1.
struct AcpiPm {
    static constexpr const char* kind = "acpi-pm";
    static constexpr uint32_t version = 1;

    uint16_t port = 0; ///< where the guest's tables say that they are: 0x600 of QEMU's, 0xb000
                       ///< of Xen's
    uint16_t status = 0;
    uint16_t enable = 0;
    uint16_t control = 0;
    uint16_t gpe_status = 0;
    uint16_t gpe_enable = 0;
};

template <class Visitor, PartOrConst<AcpiPm> Self> void describe(Visitor& visitor, Self& it)
{
    visitor.field({"port", "", "82371AB 7.1.14"}, it.port);
    visitor.field({"status", "", "ACPI 4.8.3.1.1"}, it.status);
    visitor.field({"enable", "", "ACPI 4.8.3.1.2"}, it.enable);
    visitor.field({"control", "", "ACPI 4.8.3.2.1"}, it.control);
    visitor.field({"gpe-status", "", "ACPI 4.8.4.1"}, it.gpe_status);
    visitor.field({"gpe-enable", "", "ACPI 4.8.4.1"}, it.gpe_enable);
}

} // namespace drover::state
