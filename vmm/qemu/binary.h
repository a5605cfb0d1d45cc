// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "util/result.h"
#include "vmm/qemu/host_facts.h"

#include <string>
#include <string_view>

namespace drover::qemu {

/// "x86_64" of "…/drover-system-x86_64" or "qemu-system-x86_64"; this host's architecture where the
/// name says none.
[[nodiscard]] std::string architecture_of(std::string_view program_name);

/// The path of qemu-system-ARCH: `chosen` (of -vmm qemu,path=) if given, else the first of the
/// search path that is not this program itself.
[[nodiscard]] Result<std::string> find_qemu(std::string_view architecture,
                                            const std::string& chosen, const HostFacts& host);

} // namespace drover::qemu
