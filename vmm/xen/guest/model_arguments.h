// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "monitor/json.h"

namespace drover::xen {

/// The devices that a configuration of xl's (`xl list -l`, b_info) names to its device model in
/// QEMU's words (device_model_args=), as Machine::describe() tells them: name → type.
[[nodiscard]] Json devices_of_arguments(const Json& build_info);

} // namespace drover::xen
