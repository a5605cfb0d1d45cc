// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace drover::qemu {

/// How much RAM this QEMU gives a machine of which nobody says it, in bytes: it is started, asked
/// and ended. Nothing where it does not say so within ten seconds. An empty `machine` is QEMU's
/// default one.
[[nodiscard]] std::optional<uint64_t> ask_default_memory(const std::string& binary,
                                                         const std::string& machine);

} // namespace drover::qemu
