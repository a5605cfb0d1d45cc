// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/transport/socket.h"
#include "util/result.h"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <sys/uio.h>

namespace drover {

/// A connected byte stream, used blockingly by one worker thread (one reader and one writer may be
/// two threads). An interface, so that tests can break it at any byte.
class Channel {
public:
    virtual ~Channel() = default;

    /// Writes everything, or fails (kind Connection; Cancelled after abort()). The pieces' contents
    /// are not changed; at most 1,024 pieces.
    [[nodiscard]] virtual Status write_all(std::span<const iovec> pieces) = 0;

    /// Reads exactly so many bytes. The end of the stream is an error of kind Connection.
    [[nodiscard]] virtual Status read_exact(std::span<std::byte> into) = 0;

    /// Makes present and later calls of any thread return at once with Cancelled. Any thread.
    virtual void abort() = 0;

    /// Bytes accepted by write_all so far. Any thread.
    [[nodiscard]] virtual uint64_t bytes_written() const = 0;
};

/// A Channel over a connected stream socket.
[[nodiscard]] std::unique_ptr<Channel> make_socket_channel(Socket socket);

} // namespace drover
