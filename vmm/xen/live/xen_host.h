// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "monitor/json.h"
#include "vmm/xen/live/xen_store.h"

#include <memory>

struct xc_interface_core;

namespace drover::xen {

/// What only the hypervisor knows of this host and of its domains. Dom0's own /proc tells of Dom0
/// alone. From Dom0, as root; loop thread only.
class XenHost {
public:
    [[nodiscard]] static Result<std::unique_ptr<XenHost>> open();
    ~XenHost();
    XenHost(const XenHost&) = delete;
    XenHost& operator=(const XenHost&) = delete;

    /// An object with `cores` (that are online), `idle` (of each that may be, ns that it had
    /// nothing to do since Xen's start), `memory` and `free` (bytes) and `domains`, for droverd's
    /// XenFacts.
    [[nodiscard]] Result<Json> report();

private:
    struct CloseControl {
        void operator()(xc_interface_core* control) const;
    };
    using Control = std::unique_ptr<xc_interface_core, CloseControl>;
    XenHost(Control control, std::unique_ptr<XenStore> store);

    [[nodiscard]] Result<Json> idle_times() const;
    [[nodiscard]] Result<Json> domains() const;
    [[nodiscard]] Json vifs(uint32_t domain) const;

    Control control_;
    std::unique_ptr<XenStore> store_;
};

} // namespace drover::xen
