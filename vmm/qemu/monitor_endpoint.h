// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "monitor/qmp_server.h"
#include "util/result.h"
#include "vmm/qemu/opts.h"

#include <optional>
#include <string_view>

namespace drover::qemu {

/// The argument of -qmp: unix:PATH, tcp:HOST:PORT, stdio. Nothing for a monitor that nobody can
/// reach (none, null). What Drover does not offer is refused in words.
[[nodiscard]] Result<std::optional<MonitorEndpoint>> device_endpoint(std::string_view device);

/// The same for the -chardev of a monitor.
[[nodiscard]] Result<std::optional<MonitorEndpoint>> chardev_endpoint(const Opts& chardev);

} // namespace drover::qemu
