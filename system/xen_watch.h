// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "util/loop.h"
#include "util/result.h"
#include "vmm/xen/live/xen_host.h"

#include <functional>
#include <memory>
#include <string>

namespace drover {

/// Tells droverd, on standard output, what only Xen knows: a line of JSON each second, and at once
/// for each byte that comes on standard input. Ends when that is closed: no droverd, no watch. A
/// process of its own, so that droverd needs nothing of Xen's. Loop thread only.
class XenWatch {
public:
    /// `end` is called once, with the exit code.
    explicit XenWatch(std::function<void(int code)> end) : end_(std::move(end)) {}

    [[nodiscard]] Status start();
    void terminate() { end_(0); }
    void defect_found(const Error& defect);

private:
    void asked();
    [[nodiscard]] Status tell();
    void tell_or_end();

    std::function<void(int)> end_;
    std::unique_ptr<xen::XenHost> host_;
    loop::Source input_;
    loop::Source timer_;
};

} // namespace drover
