// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/state/guest_pages.h"
#include "vmm/qemu/state/pc_memory.h"
#include "vmm/qemu/state/qemu_state.h"

#include <memory>
#include <optional>

namespace drover::qemu {

/// What a block of QEMU's RAM holds, by its own pages of 4 KiB. Any thread, one at a time.
class BlockPages {
public:
    virtual ~BlockPages() = default;
    [[nodiscard]] virtual bool is_zero(uint64_t page) const = 0;
    [[nodiscard]] virtual Status read(uint64_t page, state::FrameBytes target) const = 0;
};

/// Of a stream whose pages were located. Refers to both.
class SavedBlockPages : public BlockPages {
public:
    SavedBlockPages(const SavedRam& ram, const ByteSource& source) : ram_(ram), source_(source) {}
    [[nodiscard]] bool is_zero(uint64_t page) const override;
    [[nodiscard]] Status read(uint64_t page, state::FrameBytes target) const override;

private:
    const SavedRam& ram_;
    const ByteSource& source_;
};

/// The block pc.ram of a guest that comes from elsewhere. Refers to its pages.
class GuestBlockPages : public BlockPages {
public:
    GuestBlockPages(const state::GuestPages& guest, PcMemory memory);
    [[nodiscard]] bool is_zero(uint64_t page) const override;
    [[nodiscard]] Status read(uint64_t page, state::FrameBytes target) const override;
    /// Frames that the guest has memory at and this block does not.
    [[nodiscard]] std::vector<state::FrameRange> outside() const;

private:
    [[nodiscard]] bool has(uint64_t frame) const;

    const state::GuestPages& guest_;
    PcMemory memory_;
};

/// A guest's memory as it sees it, of a stream of the machine `pc`. Refers to its arguments.
class QemuGuestPages : public state::GuestPages {
public:
    /// `hole`: what lies at the ACPI hole (acpi_hole.h), or null.
    QemuGuestPages(const SavedRam& pc_ram, const SavedRam* hole, const ByteSource& source);
    [[nodiscard]] const std::vector<state::FrameRange>& ranges() const override { return ranges_; }
    [[nodiscard]] Status read(uint64_t frame, state::FrameBytes target) const override;
    [[nodiscard]] bool is_zero(uint64_t frame) const override;

private:
    SavedBlockPages pages_;
    std::optional<SavedBlockPages> hole_;
    uint64_t hole_end_ = 0; ///< frame
    PcMemory memory_;
    std::vector<state::FrameRange> ranges_;
};

} // namespace drover::qemu
