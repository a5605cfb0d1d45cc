// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/state/lapic.h"

/// A guest measures once how fast its LAPIC's timer counts, and believes it for ever; Lapic has the
/// timer's registers as that guest wrote or would write them. Where the timer counts with another
/// frequency, it is programmed so that nothing comes late: docs/machine-state.md, "The LAPIC's
/// timer".
namespace drover::state {

constexpr uint64_t qemu_lapic_hz = 1'000'000'000; ///< QEMU's own and KVM's
constexpr uint64_t xen_lapic_hz = 100'000'000;

struct LapicTimer {
    uint32_t divide_configuration = 0;
    uint32_t initial_count = 0;
};

/// 1, 2, 4 … 128: what the register's bits 0, 1 and 3 mean (SDM3 11.5.4).
[[nodiscard]] uint32_t divisor_of(uint32_t divide_configuration);

/// What to program where the timer counts with `bus_hz`: the greatest divisor whose ticks are not
/// longer than the guest believes, or 1, and a count that takes as long.
[[nodiscard]] LapicTimer timer_for(const Lapic& lapic, uint64_t bus_hz);

/// The guest's own registers from what is programmed where the timer counts with `bus_hz`. The
/// guest was born where it counts with `born_hz`.
void set_timer(Lapic& lapic, LapicTimer programmed, uint64_t bus_hz, uint64_t born_hz);

/// For a hypervisor that keeps the divisor beside the register: any number does, and the register
/// stays the guest's own.
struct FreeLapicTimer {
    uint32_t divisor = 1;
    uint32_t initial_count = 0;
};
[[nodiscard]] FreeLapicTimer free_timer_for(const Lapic& lapic, uint64_t bus_hz);
/// `lapic.divide_configuration` is there already.
void set_free_timer(Lapic& lapic, FreeLapicTimer programmed, uint64_t bus_hz, uint64_t born_hz);

/// Whether even the shortest ticks are longer than the guest believes.
[[nodiscard]] bool ticks_late(const Lapic& lapic, uint64_t bus_hz);

} // namespace drover::state
