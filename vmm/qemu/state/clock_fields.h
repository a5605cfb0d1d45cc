// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/state/clocks.h"
#include "migration/state/device.h"
#include "migration/state/pit.h"
#include "migration/state/rtc.h"

namespace drover::qemu {

/// What the ACPI timer shows when the guest has run for so long: QEMU's is nothing of its own.
[[nodiscard]] uint32_t acpi_timer_at(int64_t run_time);

/// For how long a guest has to have run under QEMU, at least as long as it has, for its ACPI timer
/// to go on. Up to 4.7 s more than it has.
[[nodiscard]] int64_t run_time_for(const state::Clocks& clocks);

/// Sections "timer" and (under KVM) "kvmclock"; null where there is none.
[[nodiscard]] Result<state::Clocks> read_clocks(const state::Device& timer,
                                                const state::Device* kvmclock,
                                                std::vector<std::string>& told);
[[nodiscard]] Status write_clocks(const state::Clocks& clocks, uint64_t tsc, state::Device& timer,
                                  state::Device* kvmclock);
/// Under TCG the vCPUs' time-stamp counters are this one.
[[nodiscard]] Result<uint64_t> ticks_of(const state::Device& timer);

/// Sections "i8254" and "pcspk". Times are of QEMU's virtual clock, in ns.
[[nodiscard]] Result<state::Pit> read_pit(const state::Device& device, const state::Device* speaker,
                                          int64_t run_time, std::vector<std::string>& told);
[[nodiscard]] Status write_pit(const state::Pit& pit, int64_t run_time, state::Device& device,
                               state::Device* speaker);

/// Section "mc146818rtc".
[[nodiscard]] Result<state::Rtc> read_rtc(const state::Device& device,
                                          std::vector<std::string>& told);
[[nodiscard]] Status write_rtc(const state::Rtc& rtc, state::Device& device);

} // namespace drover::qemu
