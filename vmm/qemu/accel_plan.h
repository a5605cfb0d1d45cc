// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "vmm/qemu/command_line.h"
#include "vmm/qemu/host_facts.h"

#include <string>
#include <vector>

namespace drover::qemu {

/// Where the line asks for KVM first and this host's KVM is of no use, turns it into TCG, with a
/// note that says why.
void plan_accelerator(CommandLine& line, const HostFacts& host, std::vector<std::string>& notes);

} // namespace drover::qemu
