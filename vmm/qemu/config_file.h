// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "util/result.h"
#include "vmm/qemu/command_line.h"
#include "vmm/qemu/host_facts.h"

namespace drover::qemu {

/// Refuses a -readconfig file that sets up what Drover must see on the command line: memory and
/// monitors. A file that cannot be read is left for QEMU to complain about.
[[nodiscard]] Status check_config_files(const CommandLine& line, const HostFacts& host);

} // namespace drover::qemu
