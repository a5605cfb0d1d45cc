// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/ram/dirty_tracker.h"
#include "migration/ram/ram_block.h"
#include "migration/state/memory.h"
#include "vmm/xen/live/xen_domain.h"

#include <functional>
#include <vector>

namespace drover::xen {

/// The RAM of a domain as the block pc.ram of QEMU's machine `pc`.
struct DomainRam {
    std::vector<RamBlock> blocks; ///< one
    /// It has the tables of Xen's firmware beyond that RAM: it was born on Xen.
    bool has_tables = false;
};
/// Whether RAM of so many bytes lies at the same places under both hypervisors.
[[nodiscard]] Status check_memory(uint64_t bytes);
/// Fails where the two hypervisors lay RAM out differently, or if the guest has memory at another
/// place.
[[nodiscard]] Result<DomainRam> ram_of(const std::shared_ptr<const XenDomain>& domain,
                                       uint64_t memory);

/// Those tables, as they are now.
[[nodiscard]] Result<state::Memory> tables_of(const XenDomain& domain);

/// Xen's own log of what vCPUs and hypervisor write, into which the device model tells its own
/// writes.
class LogDirty : public DirtyTracker {
public:
    /// `pages`: of the block. `stopped`: the device model needs not tell any more; any thread.
    LogDirty(XenDomain& domain, uint64_t pages, std::function<void()> stopped);
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
    uint64_t pages_;
    std::function<void()> stopped_;
    bool on_ = false;
};

} // namespace drover::xen
