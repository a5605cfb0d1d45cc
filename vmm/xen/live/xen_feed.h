// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/ram/page_bitmap.h"
#include "migration/ram/ram_mapping.h"
#include "util/fd.h"
#include "vmm/qemu/state/pc_memory.h"
#include "vmm/xen/state/xen_save.h"

#include <memory>
#include <mutex>
#include <optional>

namespace drover::xen {

/// The stream of one guest into `xl migrate-receive`: its pages as they come, by many threads, and
/// then the rest.
class XenFeed {
public:
    XenFeed(XenGuest guest, const qemu::PcMemory& layout, UniqueFd stream)
        : guest_(std::move(guest)), layout_(layout), stream_(std::move(stream)),
          sink_(stream_.get(), "the stream to xl"), save_(guest_, sink_),
          sent_(layout.size / state::frame_size)
    {
    }

    [[nodiscard]] Status begin(size_t vcpus);
    [[nodiscard]] const qemu::PcMemory& layout() const { return layout_; }

    /// Instead of the others: a domain of zeros, of which the rest comes by other ways. All but the
    /// last record, which is end_blank(). Both block.
    [[nodiscard]] Status write_blank(size_t vcpus);
    [[nodiscard]] Status end_blank();
    /// False: it cannot be written to any more.
    [[nodiscard]] bool write(uint64_t page, std::span<const std::byte> contents);
    [[nodiscard]] bool discard(uint64_t page, uint64_t count);
    /// Pages that were never written are zeros. `tables`: what the guest has beyond its RAM at the
    /// ACPI hole (acpi_hole.h). Blocks.
    [[nodiscard]] Status end(const WrittenMachine& machine,
                             const std::optional<state::Memory>& tables);

private:
    void write_tables(const state::Memory& tables);
    /// Pages of the RAM, wherever the guest has them.
    void populate(uint64_t page, uint64_t count);

    std::mutex mutex_;
    XenGuest guest_;
    qemu::PcMemory layout_;
    UniqueFd stream_;
    ByteSink sink_;
    SaveStream save_;
    PageBitmap sent_;
};

/// Its RAM as the session's threads write it: the one block.
class FedRam : public RamMapping {
public:
    explicit FedRam(std::shared_ptr<XenFeed> feed) : feed_(std::move(feed)) {}
    [[nodiscard]] size_t write(size_t block, uint64_t offset,
                               std::span<const std::byte> from) override;
    [[nodiscard]] bool discard(size_t block, uint64_t offset, uint64_t length) override;
    [[nodiscard]] bool is_new() const override { return true; }

private:
    std::shared_ptr<XenFeed> feed_;
};

} // namespace drover::xen
