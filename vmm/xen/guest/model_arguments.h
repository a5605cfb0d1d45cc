// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "monitor/json.h"
#include "util/result.h"

namespace drover::xen {

/// The devices that a configuration of xl's (`xl list -l`, b_info) names to its device model in
/// QEMU's words (device_model_args=), as Machine::describe() tells them: name → type.
[[nodiscard]] Json devices_of_arguments(const Json& build_info);

/// A configuration (`xl list -l`, config) that a guest is to come by gives it no disk of xl's own
/// (disk=): the device model has that on the machine's IDE controller, where the guest has none,
/// and xl runs a script for it while the source still writes to it.
[[nodiscard]] Status check_no_own_disks(const Json& config);

} // namespace drover::xen
