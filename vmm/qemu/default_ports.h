// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "vmm/qemu/command_line.h"

namespace drover::qemu {

/// The ports that QEMU adds by itself, since the line says nothing of them.
struct DefaultPorts {
    bool serial = true;
    bool parallel = true;
    bool monitor = true; ///< a human monitor

    [[nodiscard]] bool any() const { return serial || parallel || monitor; }
};

[[nodiscard]] DefaultPorts default_ports(const CommandLine& line);

} // namespace drover::qemu
