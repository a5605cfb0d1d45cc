// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/transport/address.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <sys/un.h>

namespace drover {

namespace {

constexpr size_t max_unix_path = sizeof(sockaddr_un::sun_path) - 1;
constexpr size_t max_host = 255;

/// A URI in an error's text: short, and without what would garble a terminal.
std::string quoted(std::string_view text)
{
    std::string shown(text.substr(0, 100));
    std::replace_if(
        shown.begin(), shown.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; }, '?');
    return "\"" + shown + (text.size() > 100 ? "…\"" : "\"");
}

std::unexpected<Error> refuse(std::string_view uri, std::string_view why,
                              std::string hint = "write tcp:HOST:PORT, unix:PATH or fd:NAME")
{
    return fail(ErrorKind::Invalid, "the migration address " + quoted(uri) + " " + std::string(why),
                std::move(hint));
}

bool is_port(std::string_view text)
{
    unsigned value = 0;
    const char* end = text.data() + text.size();
    const auto parsed = std::from_chars(text.data(), end, value);
    return parsed.ec == std::errc{} && parsed.ptr == end && value <= 65535;
}

/// Returns the port that "to" names, or 0.
Result<uint16_t> read_options(std::string_view uri, std::string_view options)
{
    uint16_t last_port = 0;
    constexpr std::array<std::string_view, 4> ignored = {"ipv4", "ipv6", "to", "keep-alive"};
    while (!options.empty()) {
        const std::string_view option = options.substr(0, options.find(','));
        options.remove_prefix(std::min(option.size() + 1, options.size()));
        const std::string_view name = option.substr(0, option.find('='));
        if (std::find(ignored.begin(), ignored.end(), name) == ignored.end())
            return refuse(uri, "has an option that is not known: " + quoted(name),
                          "the options ipv4, ipv6, to and keep-alive are accepted");
        if (name != "to")
            continue;
        const std::string_view value = option.substr(std::min(name.size() + 1, option.size()));
        if (!is_port(value))
            return refuse(uri, "has no decimal port from 0 to 65535 after \"to\"", {});
        std::from_chars(value.data(), value.data() + value.size(), last_port);
    }
    return last_port;
}

Result<MigrationAddress> parse_tcp(std::string_view uri, std::string_view rest)
{
    const std::string_view host_port = rest.substr(0, rest.find(','));
    auto last_port =
        read_options(uri, host_port.size() < rest.size() ? rest.substr(host_port.size() + 1)
                                                         : std::string_view());
    if (!last_port)
        return pass(last_port);
    const size_t colon = host_port.rfind(':');
    if (colon == std::string_view::npos)
        return refuse(uri, "has no port", "write tcp:HOST:PORT");
    std::string_view host = host_port.substr(0, colon);
    const std::string_view port = host_port.substr(colon + 1);
    if (!is_port(port))
        return refuse(uri, "has no decimal port from 0 to 65535", "write tcp:HOST:PORT");
    if (host.size() >= 2 && host.front() == '[' && host.back() == ']')
        host = host.substr(1, host.size() - 2);
    else if (host.find_first_of(":[]") != std::string_view::npos)
        return refuse(uri, "is not clear", "write IPv6 addresses in brackets: tcp:[::1]:4444");
    if (host.size() > max_host)
        return refuse(uri, "has a host name of more than 255 bytes", {});
    MigrationAddress address;
    address.kind = MigrationAddress::Kind::Tcp;
    address.host = host == "0" ? "" : host;
    address.port = port;
    address.last_port = *last_port;
    return address;
}

Result<MigrationAddress> parse_unix(std::string_view uri, std::string_view rest)
{
    if (rest.empty())
        return refuse(uri, "has no path", "write unix:PATH");
    if (rest.size() > max_unix_path)
        return refuse(uri, "has a path that is too long for a UNIX socket",
                      "use a path of at most 107 bytes");
    MigrationAddress address;
    address.kind = MigrationAddress::Kind::Unix;
    address.path = rest;
    return address;
}

Result<MigrationAddress> parse_fd(std::string_view uri, std::string_view rest)
{
    if (rest.empty())
        return refuse(uri, "names no descriptor", "write fd:NUMBER, or fd:NAME after getfd");
    MigrationAddress address;
    address.kind = MigrationAddress::Kind::Fd;
    address.fd_name = rest;
    return address;
}

} // namespace

Result<MigrationAddress> MigrationAddress::parse(std::string_view uri)
{
    if (uri.find('\0') != std::string_view::npos)
        return refuse(uri, "contains a zero byte");
    if (uri.starts_with("tcp:"))
        return parse_tcp(uri, uri.substr(4));
    if (uri.starts_with("unix:"))
        return parse_unix(uri, uri.substr(5));
    if (uri.starts_with("fd:"))
        return parse_fd(uri, uri.substr(3));
    return refuse(uri, "is of a kind that Drover does not support");
}

std::string MigrationAddress::text() const
{
    switch (kind) {
    case Kind::Tcp:
        if (host.find(':') != std::string::npos)
            return "tcp:[" + host + "]:" + port;
        return "tcp:" + (host.empty() ? "0" : host) + ":" + port;
    case Kind::Unix: return "unix:" + path;
    case Kind::Fd: return "fd:" + fd_name;
    }
    return {};
}

uint16_t MigrationAddress::port_number() const
{
    uint16_t value = 0;
    std::from_chars(port.data(), port.data() + port.size(), value);
    return value;
}

} // namespace drover
