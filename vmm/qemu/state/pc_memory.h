// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/state/guest_pages.h"

namespace drover::qemu {

constexpr uint64_t four_gib = 4ULL << 30;

/// How the machine `pc` lays its RAM out in guest-physical memory: below `low` bytes from 0 on, the
/// rest from 4 GiB on. Between them are PCI devices' windows and firmware. The frames of the VGA
/// window (a0 to bf) are not RAM for the guest.
struct PcMemory {
    uint64_t size = 0; ///< bytes
    uint64_t low = 0;  ///< bytes

    /// QEMU's own choice of max-ram-below-4g, bytes.
    static constexpr uint64_t usual_limit = 0xe0000000;

    /// As QEMU does it: RAM that does not fit below the limit is cut at 3 GiB at the latest.
    [[nodiscard]] static PcMemory of(uint64_t size, uint64_t limit = usual_limit);
    /// As Xen's tools do it, where PCI devices have that many bytes below 4 GiB.
    [[nodiscard]] static PcMemory beside_hole(uint64_t size, uint64_t hole);

    [[nodiscard]] std::vector<state::FrameRange> ranges() const;
    [[nodiscard]] uint64_t page_of(uint64_t frame) const;
    [[nodiscard]] uint64_t frame_of(uint64_t page) const;
    /// How many pages from this one on, itself included, lie in one piece.
    [[nodiscard]] uint64_t pages_in_a_row(uint64_t page) const;
    /// Behind the last frame.
    [[nodiscard]] uint64_t end_frame() const;

    bool operator==(const PcMemory&) const = default;
};

} // namespace drover::qemu
