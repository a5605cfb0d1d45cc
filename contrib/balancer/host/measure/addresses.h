// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <string>

namespace drover::balancer::measure {

/// The name of the network interface that has this numeric address. Empty: none has it, it is no
/// numeric address, or the interfaces cannot be listed.
[[nodiscard]] std::string interface_with(const std::string& address);

} // namespace drover::balancer::measure
