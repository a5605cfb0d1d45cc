// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "vmm/qemu/host_facts.h"

#include <optional>
#include <span>
#include <string>

namespace drover::qemu {

/// Why a guest with this command line cannot be migrated by Drover, in words; nothing if it can.
///
/// Some back-ends write guest RAM behind QEMU's back, where no tracker sees it: vhost-user, vDPA
/// and VFIO through mappings of their own, and Linux AIO and io_uring through pages that were
/// pinned before the tracker protected them (the thread pool's reads are made visible, see
/// tracker/preload.cpp). Files named by -readconfig are read too.
[[nodiscard]] std::optional<std::string> migration_blocker(std::span<const std::string> arguments,
                                                           const HostFacts& host);

/// The same for the arguments of QMP's blockdev-add, device_add, netdev_add and object-add, as JSON
/// text.
[[nodiscard]] std::optional<std::string> migration_blocker(const std::string& qmp_arguments);

} // namespace drover::qemu
