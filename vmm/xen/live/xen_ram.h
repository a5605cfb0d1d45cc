// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/ram/dirty_tracker.h"
#include "migration/ram/ram_block.h"
#include "migration/state/memory.h"
#include "vmm/qemu/state/pc_memory.h"
#include "vmm/xen/live/xen_domain.h"

#include <functional>
#include <vector>

namespace drover::xen {

/// The RAM of a domain as the block pc.ram of QEMU's machine `pc`.
struct DomainRam {
    qemu::PcMemory layout;
    std::vector<RamBlock> blocks; ///< one
    /// It has the tables of Xen's firmware beyond that RAM: it was born on Xen.
    bool has_tables = false;
};
/// Fails if the guest has memory at another place.
[[nodiscard]] Result<DomainRam> ram_of(const std::shared_ptr<const XenDomain>& domain,
                                       const qemu::PcMemory& layout);

/// Those tables, as they are now.
[[nodiscard]] Result<state::Memory> tables_of(const XenDomain& domain);

/// Xen's own log of what vCPUs and hypervisor write, into which the device model tells its own
/// writes.
class LogDirty : public DirtyTracker {
public:
    /// `stopped`: the device model needs not tell any more; any thread.
    LogDirty(XenDomain& domain, const qemu::PcMemory& layout, std::function<void()> stopped);
    ~LogDirty() override;

    [[nodiscard]] std::string_view name() const override { return "log-dirty"; }
    [[nodiscard]] Status start() override;
    [[nodiscard]] bool collects_ranges() const override { return false; }
    [[nodiscard]] Status collect(size_t block, uint64_t first, uint64_t end,
                                 PageBitmap& dirty) override;
    [[nodiscard]] Status collect_all(std::span<PageBitmap> dirty) override;
    void stop() override;

private:
    XenDomain& domain_;
    qemu::PcMemory layout_;
    std::function<void()> stopped_;
    bool on_ = false;
};

} // namespace drover::xen
