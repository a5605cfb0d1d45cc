// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "util/result.h"

#include <span>
#include <string>

namespace drover::xen {

/// Where a disk that a source names is, without links: a regular file or a block device below one
/// of the directories (or that very file) that this host's administrator has allowed, and no other.
/// Who can write to such a directory can put another file into its place afterwards: it must be
/// theirs only who may be trusted with all disks in it.
[[nodiscard]] Result<std::string> permitted_disk(const std::string& path,
                                                 std::span<const std::string> allowed);

} // namespace drover::xen
