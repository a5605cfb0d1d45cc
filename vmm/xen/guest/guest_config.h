// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "vmm/xen/guest/announced_guest.h"

namespace drover::xen {

/// What this host's administrator has said of guests whose configuration is derived from what their
/// source tells.
struct LocalParts {
    std::string name;               ///< instead of the source's; empty: that
    std::vector<std::string> disks; ///< directories, or files, that may be guests' disks
    /// Back ends for guests' network cards in QEMU's words ("tap,id=lan0,ifname=tap7,…"): the id is
    /// that of the source's.
    std::vector<std::string> networks;
    /// A guest may have a balloon, though it ends its own device model by putting a page into it.
    bool balloon = false;
    std::vector<std::string> serial_ports; ///< as QEMU's -serial; ports without one are "pty"
};

/// A configuration as `xl create` reads it. Nothing of the source's is in it but what
/// announced_guest() has checked.
struct GuestConfig {
    std::string text;
    /// What is missing from it, and where it shows a place holder: a disk that is not allowed, a
    /// network card without a back end. With one of these it must not be used.
    std::vector<Error> open;
};
[[nodiscard]] GuestConfig guest_config(const AnnouncedGuest& guest, const LocalParts& local);

} // namespace drover::xen
