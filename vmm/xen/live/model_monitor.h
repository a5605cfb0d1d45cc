// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "util/fd.h"

#include <string>

namespace drover::xen {

/// Connects to the second monitor (QMP) of the device model of that domain, which xl leaves to
/// whoever wants to watch it.
[[nodiscard]] Result<UniqueFd> connect_to_model(const std::string& domain);

} // namespace drover::xen
