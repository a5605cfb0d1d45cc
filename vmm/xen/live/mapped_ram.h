// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/ram/ram_mapping.h"
#include "util/result.h"
#include "vmm/qemu/state/pc_memory.h"
#include "vmm/xen/live/xen_domain.h"

#include <memory>
#include <mutex>
#include <shared_mutex>
#include <vector>

namespace drover::xen {

/// The RAM of a domain that is there, all zeros, and does not run: mapped here piece by piece when
/// first written, until close(). Any thread.
class MappedRam : public RamMapping {
public:
    MappedRam(std::shared_ptr<const XenDomain> domain, const qemu::PcMemory& layout);
    ~MappedRam() override;

    [[nodiscard]] size_t write(size_t block, uint64_t offset,
                               std::span<const std::byte> from) override;
    [[nodiscard]] bool discard(size_t block, uint64_t offset, uint64_t length) override;
    [[nodiscard]] bool is_new() const override { return true; }

    /// Unmaps: a domain's memory is its own, and can be freed, only then. Nothing is written any
    /// more.
    void close();

private:
    struct Piece {
        std::once_flag once;
        std::byte* map = nullptr; ///< null: not yet, or it cannot be
        std::vector<char> there;  ///< for each frame
    };
    [[nodiscard]] const Piece& piece_of(uint64_t frame);
    /// Zeros where `from` is null. False: it has no such page.
    [[nodiscard]] bool write_page(uint64_t frame, const std::byte* from);

    std::shared_ptr<const XenDomain> domain_;
    qemu::PcMemory layout_;
    std::vector<Piece> pieces_; ///< of the frames from 0 on; between low and high RAM never mapped
    std::shared_mutex closing_; ///< held, shared, by those who write
    bool closed_ = false;
};

} // namespace drover::xen
