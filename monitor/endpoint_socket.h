// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "monitor/qmp_server.h"

#include <functional>
#include <memory>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>

namespace drover {

/// The file of a listening UNIX socket; unlinked at the end, unless another has taken its place.
class SocketFile {
public:
    SocketFile() = default;
    explicit SocketFile(std::string path);
    SocketFile(SocketFile&& other) noexcept;
    SocketFile& operator=(SocketFile&& other) noexcept;
    ~SocketFile();

    void keep() { path_.clear(); } ///< the file stays: another process listens there

private:
    std::string path_; // empty: none
    dev_t device_ = 0;
    ino_t inode_ = 0;
};

struct ListeningSocket {
    UniqueFd fd; ///< non-blocking, close-on-exec
    SocketFile file;
};

/// Of the kinds UnixListen (a socket file that nobody listens on any more is replaced), TcpListen
/// and ListenFd (which must be listening already; it is taken over).
[[nodiscard]] Result<ListeningSocket> listen_on_endpoint(const MonitorEndpoint& endpoint);

struct UnixAddress {
    sockaddr_un address = {};
    socklen_t length = sizeof(sockaddr_un);

    [[nodiscard]] const sockaddr* get() const
    {
        return reinterpret_cast<const sockaddr*>(&address);
    }
};

/// Of the kinds UnixListen and UnixConnect.
[[nodiscard]] Result<UnixAddress> unix_address(const MonitorEndpoint& endpoint);

/// The port of a TcpConnect.
[[nodiscard]] Result<uint16_t> port_number(const MonitorEndpoint& endpoint);

/// Of the kinds UnixConnect and TcpConnect. Blocks for at most 30 seconds. Makes no thread (GIO
/// would, to resolve a name), so that a fork may follow.
[[nodiscard]] Result<UniqueFd> connect_to_endpoint(const MonitorEndpoint& endpoint);

/// The same without blocking: `done` is called on the loop thread, unless the returned object is
/// destroyed before.
class EndpointConnecting {
public:
    EndpointConnecting(const MonitorEndpoint& endpoint, std::function<void(Result<UniqueFd>)> done);
    ~EndpointConnecting();
    EndpointConnecting(const EndpointConnecting&) = delete;
    EndpointConnecting& operator=(const EndpointConnecting&) = delete;

    struct State;

private:
    std::shared_ptr<State> state_;
};

/// The endpoint in words: "unix:PATH", "tcp:HOST:PORT", "file descriptor N", "standard input".
[[nodiscard]] std::string describe(const MonitorEndpoint& endpoint);

} // namespace drover
