// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "util/result.h"
#include "vmm/qemu/command_line.h"
#include "vmm/qemu/host_facts.h"

#include <string>
#include <vector>

namespace drover::qemu {

/// Where the line asks for KVM first, lets TCG follow, and this host's KVM is of no use, turns it
/// into TCG, with a note that says why. Where it asks for nothing but KVM it gets KVM, or an error:
/// a guest that was meant for KVM must not become many times slower, with another CPU, unasked.
[[nodiscard]] Status plan_accelerator(CommandLine& line, const HostFacts& host,
                                      std::vector<std::string>& notes);

} // namespace drover::qemu
