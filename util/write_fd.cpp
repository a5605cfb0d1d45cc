// SPDX-License-Identifier: GPL-2.0-or-later
#include "util/write_fd.h"

#include <algorithm>
#include <cerrno>
#include <climits>
#include <poll.h>
#include <unistd.h>

namespace drover {

ssize_t write_without_blocking(int fd, const char* data, size_t size)
{
    pollfd ready = {fd, POLLOUT, 0};
    if (poll(&ready, 1, 0) <= 0) {
        errno = EAGAIN;
        return -1;
    }
    return write(fd, data, std::min<size_t>(size, PIPE_BUF));
}

} // namespace drover
