// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "vmm/qemu/launch_plan.h"

namespace drover::qemu {

/// The command line of a QEMU that has the same machine and the same devices as a plan's, and can
/// be started beside it: it has no part in the guest's disks, networks, consoles and memory. What
/// it saves before it has run tells how the devices of the plan's QEMU are saved
/// (state/blank_machine.h). Fails on what cannot be had twice, or without its back-end, by name.
/// Memory back-ends keep their placeholders (ram_placeholder), in the plan's order.
[[nodiscard]] Result<std::vector<std::string>> blank_arguments(const LaunchPlan& plan);

} // namespace drover::qemu
