// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/state/device.h"
#include "util/result.h"

namespace drover::qemu {

/// Gives `target`, a section of the QEMU that is to load it, the fields of the guest's device: by
/// their names, whatever their places. Subsections that it has not yet are added. Fails if a field
/// that matters has no place, or if an opaque one has another length. What stays as after a reset
/// is added to `told`.
[[nodiscard]] Status copy_device(const state::Device& source, state::Device& target,
                                 std::vector<std::string>& told);

} // namespace drover::qemu
