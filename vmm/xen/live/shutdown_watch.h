// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "util/loop.h"
#include "util/result.h"

#include <cstdint>
#include <functional>
#include <memory>

struct xs_handle;

namespace drover::xen {

/// Tells when domains of this host have been suspended or have ended: xenstore's special watch
/// @releaseDomain (Xen, docs/misc/xenstore.txt), which does not say which. Loop thread only.
class ShutdownWatch {
public:
    /// `changed` is also called once soon after this, and must not destroy the watch.
    [[nodiscard]] static Result<std::unique_ptr<ShutdownWatch>> open(std::function<void()> changed);
    ~ShutdownWatch();
    /// xenstore tells of each shutdown once: the domain has been resumed, and may be suspended
    /// anew.
    void resumed(uint32_t domain);
    ShutdownWatch(const ShutdownWatch&) = delete;
    ShutdownWatch& operator=(const ShutdownWatch&) = delete;

private:
    ShutdownWatch(xs_handle* store, std::function<void()> changed);
    void read_events();

    xs_handle* store_;
    std::function<void()> changed_;
    loop::Source readable_;
};

} // namespace drover::xen
