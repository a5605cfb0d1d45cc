// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "util/fd.h"
#include "util/result.h"

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace drover {

/// A migration URI as QEMU writes them: tcp:HOST:PORT (IPv6 in brackets), unix:PATH, fd:NAME.
/// After a tcp: URI's port QEMU's options ipv4, ipv6, to and keep-alive may follow; all but "to"
/// are ignored.
struct MigrationAddress {
    enum class Kind { Tcp, Unix, Fd };
    Kind kind = Kind::Tcp;
    std::string host; ///< Tcp; empty (also written as 0): every interface (to listen), loopback (to
                      ///< connect)
    std::string port; ///< Tcp, decimal; "0" to listen on a free one
    uint16_t last_port = 0; ///< Tcp, to listen: the first free one from `port` to this; 0: `port`
    std::string path;       ///< Unix
    std::string fd_name;    ///< Fd: a number, or a name given by the QMP command getfd

    /// Refuses, naming what is supported, anything else (exec:, rdma:, file:, …).
    [[nodiscard]] static Result<MigrationAddress> parse(std::string_view uri);
    [[nodiscard]] std::string text() const; ///< the URI again
    [[nodiscard]] uint16_t port_number() const;
};

/// Makes a connected stream socket what a migration needs: blocking, close-on-exec and, if it is
/// TCP, without Nagle's delay and with keep-alive. For those that come by fd:NAME.
void prepare_socket(int fd);

/// Has TCP share the link in the way that the kernel calls so (tcp(7), TCP_CONGESTION); empty, or
/// of a socket that is not TCP: nothing is changed. Fails (System), with what there is, where the
/// kernel has no such way, or does not permit it to this process.
[[nodiscard]] Status set_tcp_congestion(int fd, const std::string& name);

/// The numeric address of a connected TCP socket's other end, as an address to call. Nothing for
/// other sockets: at the path of a UNIX one, somebody may have listened for this one call only.
[[nodiscard]] std::optional<MigrationAddress> peer_address(int fd);

/// How long connect_to tries, name resolution included.
inline constexpr std::chrono::milliseconds connect_timeout{10'000};

/// Connects without blocking the loop and calls back on the loop thread, never before it returns: a
/// connected socket as prepare_socket() makes them, or why not. Not for Kind::Fd. Destroying the
/// returned object cancels: then `done` is never called. `done` may destroy it.
class Connecting {
public:
    virtual ~Connecting() = default;
};
[[nodiscard]] std::unique_ptr<Connecting>
connect_to(const MigrationAddress& address, std::function<void(Result<UniqueFd>)> done,
           std::chrono::milliseconds timeout = connect_timeout);

/// Listens until destroyed and hands over each accepted socket (as connect_to makes them), on the
/// loop thread, with the peer's address in words. A UNIX path is unlinked at the end, if it is
/// still ours; one that a dead process left behind is replaced. `accepted` may destroy the
/// listener.
class Listening {
public:
    virtual ~Listening() = default;
    [[nodiscard]] virtual MigrationAddress address() const = 0; ///< with the real port
};
[[nodiscard]] Result<std::unique_ptr<Listening>>
listen_on(const MigrationAddress& address,
          std::function<void(UniqueFd socket, std::string peer)> accepted);

} // namespace drover
