// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/monitor_endpoint.h"

#include <algorithm>
#include <array>
#include <charconv>

namespace drover::qemu {

namespace {

constexpr const char* supported = "a QMP monitor can be unix:PATH, tcp:HOST:PORT, "
                                  "telnet:HOST:PORT or stdio, or a -chardev socket or stdio";

std::unexpected<Error> unsupported(const std::string& what)
{
    return fail(ErrorKind::Invalid, what + " is not supported for a QMP monitor", supported);
}

std::optional<unsigned> parse_number(const std::string& text)
{
    unsigned number = 0;
    const char* end = text.data() + text.size();
    const auto parsed = std::from_chars(text.data(), end, number);
    if (text.empty() || parsed.ec != std::errc{} || parsed.ptr != end || number > INT32_MAX)
        return std::nullopt;
    return number;
}

/// Options that do not change what a monitor's client sees, or that are read elsewhere.
constexpr std::array harmless = std::to_array<std::string_view>({
    "abstract",  "backend", "delay",   "fd",    "host", "id",        "keep-alive",
    "logappend", "logfile", "nodelay", "path",  "port", "reconnect", "reconnect-ms",
    "server",    "signal",  "telnet",  "tight", "wait",
});

Status check_options(const Opts& opts)
{
    for (const Opts::Item& item : opts.items())
        if (std::ranges::find(harmless, item.key) == harmless.end() && item.value != "off")
            return unsupported(item.key + "=" + item.value);
    return {};
}

/// What a monitor may have whatever it talks over.
Status set_common_options(const Opts& opts, MonitorEndpoint& endpoint)
{
    if (auto status = check_options(opts); !status)
        return status;
    auto append = opts.get_bool("logappend", false);
    if (!append)
        return pass(append);
    endpoint.log_file = opts.get("logfile").value_or("");
    endpoint.append_to_log = *append;
    return {};
}

Status set_socket_options(const Opts& opts, MonitorEndpoint& endpoint)
{
    const struct {
        const char* key;
        bool fallback;
        bool MonitorEndpoint::*place;
    } flags[] = {{"telnet", false, &MonitorEndpoint::telnet},
                 {"abstract", false, &MonitorEndpoint::abstract},
                 {"tight", true, &MonitorEndpoint::padded}};
    for (const auto& flag : flags) {
        auto value = opts.get_bool(flag.key, flag.fallback);
        if (!value)
            return pass(value);
        endpoint.*flag.place = *value;
    }
    endpoint.padded = !endpoint.padded;
    return {};
}

Status set_server_options(const Opts& opts, bool server, MonitorEndpoint& endpoint)
{
    // A server waits for its first client unless told not to.
    auto wait = opts.get_bool("wait", server);
    if (!wait)
        return pass(wait);
    endpoint.wait = *wait && server;
    if (const auto seconds = opts.get("reconnect"))
        endpoint.reconnect_s = parse_number(*seconds).value_or(0);
    if (const auto milliseconds = opts.get("reconnect-ms"))
        endpoint.reconnect_s = (parse_number(*milliseconds).value_or(0) + 999) / 1000;
    return {};
}

Result<MonitorEndpoint> socket_endpoint(const Opts& opts)
{
    using Kind = MonitorEndpoint::Kind;
    MonitorEndpoint endpoint;
    auto server = opts.get_bool("server", false);
    if (!server)
        return pass(server);
    if (auto status = set_common_options(opts, endpoint); !status)
        return pass(status);
    if (auto status = set_socket_options(opts, endpoint); !status)
        return pass(status);
    if (const auto fd = opts.get("fd")) {
        const auto number = parse_number(*fd);
        if (!number)
            return fail(ErrorKind::Invalid, "fd=" + *fd + " is not the number of a descriptor");
        endpoint.kind = *server ? Kind::ListenFd : Kind::ConnectedFd;
        endpoint.fd = static_cast<int>(*number);
    } else if (const auto path = opts.get("path")) {
        endpoint.kind = *server ? Kind::UnixListen : Kind::UnixConnect;
        endpoint.path = *path;
    } else if (const auto port = opts.get("port")) {
        endpoint.kind = *server ? Kind::TcpListen : Kind::TcpConnect;
        endpoint.host = opts.get("host").value_or("");
        endpoint.port = *port;
    } else {
        return fail(ErrorKind::Invalid, "a socket needs path=, host= and port=, or fd=");
    }
    if (auto status = set_server_options(opts, *server, endpoint); !status)
        return pass(status);
    return endpoint;
}

/// "HOST:PORT[,option…]", the host possibly in brackets or empty.
Result<MonitorEndpoint> tcp_endpoint(std::string_view text)
{
    const size_t comma = std::min(text.find(','), text.size());
    const std::string_view address = text.substr(0, comma);
    const size_t colon = address.rfind(':');
    if (colon == std::string_view::npos)
        return fail(ErrorKind::Invalid, "tcp:" + std::string(address) + " has no port",
                    "write tcp:HOST:PORT");
    std::string_view host = address.substr(0, colon);
    if (host.starts_with('[') && host.ends_with(']'))
        host = host.substr(1, host.size() - 2);
    auto opts = Opts::parse(text.substr(std::min(comma + 1, text.size())), "");
    if (!opts)
        return pass(opts);
    opts->set("host", std::string(host));
    opts->set("port", std::string(address.substr(colon + 1)));
    return socket_endpoint(*opts);
}

} // namespace

Result<std::optional<MonitorEndpoint>> device_endpoint(std::string_view device)
{
    Result<MonitorEndpoint> endpoint;
    if (device == "none" || device == "null")
        return std::optional<MonitorEndpoint>();
    if (device == "stdio") {
        endpoint->kind = MonitorEndpoint::Kind::Stdio;
    } else if (device.starts_with("tcp:")) {
        endpoint = tcp_endpoint(device.substr(4));
    } else if (device.starts_with("telnet:")) {
        endpoint = tcp_endpoint(device.substr(7));
        if (endpoint)
            endpoint->telnet = true;
    } else if (device.starts_with("unix:")) {
        const auto opts = Opts::parse(device.substr(5), "path");
        endpoint = socket_endpoint(*opts);
    } else {
        return unsupported("'" + std::string(device) + "'");
    }
    if (!endpoint)
        return pass(endpoint);
    return std::optional(std::move(*endpoint));
}

Result<std::optional<MonitorEndpoint>> chardev_endpoint(const Opts& chardev)
{
    const std::string backend = chardev.get("backend").value_or("");
    if (backend == "null")
        return std::optional<MonitorEndpoint>();
    Result<MonitorEndpoint> endpoint;
    if (backend == "socket") {
        endpoint = socket_endpoint(chardev);
    } else if (backend == "stdio") {
        endpoint->kind = MonitorEndpoint::Kind::Stdio;
        if (auto status = set_common_options(chardev, *endpoint); !status)
            endpoint = pass(status);
    } else {
        return unsupported("a -chardev " + backend);
    }
    if (!endpoint)
        return pass(endpoint);
    return std::optional(std::move(*endpoint));
}

} // namespace drover::qemu
