// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/doors/address.h"

#include <charconv>

namespace drover::balancer {

namespace {

constexpr std::string_view unix_prefix = "unix:";
constexpr std::string_view tls_prefix = "tls:";

std::unexpected<Error> wrong(std::string_view text, const char* why)
{
    return fail(ErrorKind::Invalid, "'" + std::string(text) + "' " + why,
                "write unix:PATH or tls:HOST:PORT");
}

bool is_port(std::string_view text)
{
    uint16_t port = 0;
    const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), port);
    return error == std::errc{} && rest == text.data() + text.size();
}

} // namespace

Result<DoorAddress> parse_door_address(std::string_view text)
{
    DoorAddress address;
    if (text.starts_with(unix_prefix)) {
        address.path = text.substr(unix_prefix.size());
        if (address.path.empty() || address.path.size() > 107)
            return wrong(text, "has no path, or one of more than 107 bytes");
        return address;
    }
    if (!text.starts_with(tls_prefix))
        return wrong(text, "is no address of a daemon");
    address.tls = true;
    const std::string_view rest = text.substr(tls_prefix.size());
    const size_t colon = rest.rfind(':');
    if (colon == rest.npos || !is_port(rest.substr(colon + 1)))
        return wrong(text, "has no port from 0 to 65535");
    std::string_view host = rest.substr(0, colon);
    if (host.starts_with('[') && host.ends_with(']'))
        host = host.substr(1, host.size() - 2);
    else if (host.contains(':'))
        return wrong(text, "has an IPv6 address without brackets");
    if (host.contains('\0') || host.contains('/') || host.contains('['))
        return wrong(text, "has a strange host name");
    address.host = host;
    address.port = rest.substr(colon + 1);
    return address;
}

std::string DoorAddress::text() const
{
    if (!tls)
        return std::string(unix_prefix) + path;
    const bool bracketed = host.contains(':');
    return std::string(tls_prefix) + (bracketed ? "[" + host + "]" : host) + ":" + port;
}

MonitorEndpoint DoorAddress::listening() const
{
    using Kind = MonitorEndpoint::Kind;
    return {
        .kind = tls ? Kind::TcpListen : Kind::UnixListen, .path = path, .host = host, .port = port};
}

MonitorEndpoint DoorAddress::connecting() const
{
    MonitorEndpoint endpoint = listening();
    endpoint.kind = tls ? MonitorEndpoint::Kind::TcpConnect : MonitorEndpoint::Kind::UnixConnect;
    return endpoint;
}

} // namespace drover::balancer
