// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/state/device.h"
#include "migration/state/ioapic.h"
#include "migration/state/lapic_timer.h"
#include "migration/state/pic.h"

namespace drover::qemu {

/// When a device was saved: times in QEMU's stream are those of its virtual clock.
struct SavedTimes {
    int64_t run_time = 0; ///< ns
    uint64_t born_hz =
        state::qemu_lapic_hz; ///< with which the guest found the LAPIC's timer to count
};

/// Sections of QEMU's interrupt controllers, the same under TCG and KVM. Fields that are not
/// carried are added to `told`.
[[nodiscard]] Result<state::Lapic> read_lapic(const state::Device& device, const SavedTimes& times,
                                              std::vector<std::string>& told);
[[nodiscard]] Status write_lapic(const state::Lapic& lapic, bool waits_for_sipi,
                                 const SavedTimes& times, state::Device& device);

[[nodiscard]] Result<state::IoApic> read_ioapic(const state::Device& device,
                                                std::vector<std::string>& told);
/// Fails if the guest uses a pin that QEMU's does not have.
[[nodiscard]] Status write_ioapic(const state::IoApic& ioapic, state::Device& device);

[[nodiscard]] Result<state::PicChip> read_pic_chip(const state::Device& device,
                                                   std::vector<std::string>& told);
[[nodiscard]] Status write_pic_chip(const state::PicChip& chip, state::Device& device);

} // namespace drover::qemu
