// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "util/fd.h"
#include "util/result.h"

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace drover {

/// A migration URI as QEMU writes them: tcp:HOST:PORT (IPv6 in brackets), unix:PATH, fd:NAME.
struct MigrationAddress {
    enum class Kind { Tcp, Unix, Fd };
    Kind kind = Kind::Tcp;
    std::string host;    ///< Tcp; empty: every interface (to listen), loopback (to connect)
    std::string port;    ///< Tcp, decimal; "0" to listen on a free one
    std::string path;    ///< Unix
    std::string fd_name; ///< Fd: a number, or a name given by the QMP command getfd

    /// Refuses, naming what is supported, anything else (exec:, rdma:, file:, …).
    [[nodiscard]] static Result<MigrationAddress> parse(std::string_view uri);
    [[nodiscard]] std::string text() const; ///< the URI again
};

/// Connects in a thread of GIO's and calls back on the loop thread: a connected, blocking,
/// close-on-exec socket (TCP_NODELAY, keep-alive), or why not. Not for Kind::Fd. Destroying the
/// returned object cancels: then `done` is never called.
class Connecting {
public:
    virtual ~Connecting() = default;
};
[[nodiscard]] std::unique_ptr<Connecting> connect_to(const MigrationAddress& address,
                                                     std::function<void(Result<UniqueFd>)> done);

/// Listens until destroyed and hands over each accepted socket (as connect_to makes them), on the
/// loop thread, with the peer's address in words. A UNIX path is unlinked at the end.
class Listening {
public:
    virtual ~Listening() = default;
    [[nodiscard]] virtual MigrationAddress address() const = 0; ///< with the real port
};
[[nodiscard]] Result<std::unique_ptr<Listening>>
listen_on(const MigrationAddress& address,
          std::function<void(UniqueFd socket, std::string peer)> accepted);

} // namespace drover
