// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "monitor/json.h"

#include <memory>

namespace drover::xen {

/// What only the hypervisor knows of this host and of its domains. Dom0's own /proc tells of Dom0
/// alone. From Dom0, as root; one thread.
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
    struct Handles;
    explicit XenHost(std::unique_ptr<Handles> handles);

    [[nodiscard]] Result<Json> idle_times() const;
    [[nodiscard]] Result<Json> domains() const;
    [[nodiscard]] std::string read_store(const std::string& path) const;
    [[nodiscard]] Json vifs(uint32_t domain) const;

    std::unique_ptr<Handles> handles_;
};

} // namespace drover::xen
