// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/state/fields.h"

namespace drover::state {

/// What the guest's clocks showed when it was paused. Kind "clocks", version 1.
struct Clocks {
    static constexpr const char* kind = "clocks";
    static constexpr uint32_t version = 1;

    /// For how long the guest has run: what its timers count by, the ACPI timer among them.
    int64_t run_time = 0;
    uint32_t acpi_timer = 0; ///< of 3,579,545 Hz, 24 or 32 bits
    uint32_t tsc_khz = 0;    ///< 0: not told
    int64_t kvmclock = 0;    ///< KVM's clock for its guests; 0: it is not there
};

template <class Visitor, PartOrConst<Clocks> Self> void describe(Visitor& visitor, Self& it)
{
    visitor.field({"run-time", "ns", "ours"}, it.run_time);
    visitor.field({"acpi-timer", "ticks", "ACPI 4.8.3.3"}, it.acpi_timer);
    visitor.field({"tsc", "khz", "SDM3 17.17"}, it.tsc_khz);
    visitor.field({"kvmclock", "ns", "Linux Documentation/virt/kvm/x86/msr"}, it.kvmclock);
}

} // namespace drover::state
