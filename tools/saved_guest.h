// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/state/guest_pages.h"
#include "migration/state/machine_state.h"
#include "util/byte_source.h"
#include "vmm/qemu/state/qemu_state.h"
#include "vmm/xen/state/xen_state.h"

#include <memory>
#include <optional>

namespace drover::tools {

/// A guest in a file of QEMU's, virsh's or xl's, read.
struct SavedGuest {
    explicit SavedGuest(FileBytes bytes) : file(std::move(bytes)) {}

    FileBytes file;
    std::optional<qemu::QemuState> qemu; ///< one of these two
    std::optional<xen::XenState> xen;
    state::MachineState machine;
    std::vector<std::string> not_carried; ///< with the reasons why that is safe
    std::unique_ptr<state::GuestPages> pages;
};

/// Fails if the guest's state has something of which nobody knows whether it can do without.
[[nodiscard]] Result<std::unique_ptr<SavedGuest>> read_saved_guest(const std::string& path);

} // namespace drover::tools
