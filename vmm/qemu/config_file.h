// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "util/result.h"
#include "vmm/qemu/command_line.h"
#include "vmm/qemu/host_facts.h"

namespace drover::qemu {

/// Puts what each -readconfig file says in its place, as the options that mean the same: memory,
/// machine, monitors and devices are then seen by the same eyes as those of the command line. A
/// file in a form that only QEMU understands stays a -readconfig, unless it sets up memory or a
/// monitor, or is a pipe, which cannot be read twice: that is refused. A file that cannot be read
/// is left for QEMU to complain about.
[[nodiscard]] Status expand_config_files(CommandLine& line, const HostFacts& host);

} // namespace drover::qemu
