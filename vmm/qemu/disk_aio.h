// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "monitor/json.h"

#include <string>

namespace drover::qemu {

class CommandLine;

/// With aio=native (Linux AIO) and aio=io_uring the kernel writes what it reads from a disk into
/// guest RAM after the call, by pages that it has pinned: no tracker outside of it sees that, and
/// such a guest cannot be migrated. With aio=threads it is seen (docs/architecture.md, "Writes by
/// pinned pages"), and the guest has the same disk. So these make it aio=threads, and return
/// whether there was anything to make.

/// In the arguments of -drive, -blockdev and -set.
[[nodiscard]] bool use_aio_threads(CommandLine& line);
/// In those of a QMP command that opens an image, at any depth.
[[nodiscard]] bool use_aio_threads(Json& arguments);

} // namespace drover::qemu
