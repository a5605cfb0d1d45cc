// SPDX-License-Identifier: GPL-2.0-or-later
#include "monitor/endpoint_socket.h"

#include <charconv>
#include <cstddef>
#include <cstring>
#include <sys/socket.h>

namespace drover {

Result<UnixAddress> unix_address(const MonitorEndpoint& endpoint)
{
    UnixAddress made;
    const std::string& name = endpoint.path;
    if (name.empty() || name.size() >= sizeof made.address.sun_path)
        return fail(
            ErrorKind::Invalid,
            "'" + name + "' cannot be the " +
                (endpoint.abstract ? "name of an abstract socket" : "path of a UNIX socket"),
            "it must have 1 to 107 bytes");
    made.address.sun_family = AF_UNIX;
    std::memcpy(made.address.sun_path + (endpoint.abstract ? 1 : 0), name.data(), name.size());
    if (endpoint.abstract && !endpoint.padded)
        made.length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
    return made;
}

Result<uint16_t> port_number(const MonitorEndpoint& endpoint)
{
    uint16_t port = 0;
    const char* end = endpoint.port.data() + endpoint.port.size();
    const auto [rest, error] = std::from_chars(endpoint.port.data(), end, port);
    if (error != std::errc{} || rest != end || port == 0)
        return fail(ErrorKind::Invalid, "'" + endpoint.port + "' is not a port",
                    "give a number from 1 to 65535");
    return port;
}

} // namespace drover
