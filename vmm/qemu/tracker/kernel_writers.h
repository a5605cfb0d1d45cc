// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "util/result.h"

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <sys/types.h>

namespace drover {

/// What goes on writing guest RAM while all threads of QEMU stand still: a vhost back-end's thread
/// is one of the kernel's own before Linux 6.4 (from then on it is one of QEMU's, and stops with
/// them). A tracker for which QEMU must stand still loses what it writes then.
///
/// `open_files`: what QEMU's descriptors are, as /proc/PID/fd tells: asked of the running process,
/// since a command line does not say it (vhost= has a default, descriptors are handed over). The
/// device's file, or nothing.
[[nodiscard]] std::optional<std::string> unstoppable_writer(std::span<const std::string> open_files,
                                                            std::string_view kernel_release);

/// The error names what writes, and what to do.
[[nodiscard]] Status check_stops_as_a_whole(pid_t pid);

} // namespace drover
