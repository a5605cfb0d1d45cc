// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <cstddef>
#include <sys/types.h>

namespace drover {

/// Writes to a terminal, pipe or file that is shared with whoever started us, so that O_NONBLOCK
/// must not be set on it: at most PIPE_BUF bytes, which one that polls as writable takes at once.
/// As write(2); EAGAIN where it would block.
[[nodiscard]] ssize_t write_without_blocking(int fd, const char* data, size_t size);

} // namespace drover
