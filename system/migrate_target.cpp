// SPDX-License-Identifier: GPL-2.0-or-later
#include "system/migrate_target.h"

namespace drover {

namespace {

std::unexpected<Error> wrong_target(std::string what)
{
    return fail(ErrorKind::Invalid, std::move(what),
                "give one channel \"main\" with an address of transport \"socket\" (inet, unix or "
                "fd), \"exec\" or \"file\", or use uri");
}

Result<std::string> uri_of_socket(const Json& address)
{
    const std::string type = json_string(address, "type");
    if (type == "unix")
        return "unix:" + json_string(address, "path");
    if (type == "fd")
        return "fd:" + json_string(address, "str");
    if (type != "inet")
        return wrong_target("a migration address of type '" + type + "' is not supported");
    std::string host = json_string(address, "host");
    if (host.find(':') != host.npos)
        host = "[" + host + "]";
    std::string uri = "tcp:" + host + ":" + json_string(address, "port");
    if (address.contains("to"))
        uri += ",to=" + std::to_string(json_u64(address, "to"));
    return uri;
}

} // namespace

/// "exec:" and "file:" stand for those of QEMU's: what follows is of no interest here.
Result<std::string> uri_of_channels(const Json& channels)
{
    if (!channels.is_array() || channels.size() != 1 || !channels[0].is_object())
        return wrong_target("'channels' must have one channel");
    const Json& channel = channels[0];
    const auto address = channel.find("addr");
    if (json_string(channel, "channel-type") != "main" || address == channel.end() ||
        !address->is_object())
        return wrong_target("'channels' has no channel \"main\" with an address");
    const std::string transport = json_string(*address, "transport");
    if (transport == "exec" || transport == "file")
        return transport + ":";
    if (transport == "socket")
        return uri_of_socket(*address);
    return wrong_target("the transport '" + transport + "' is not supported");
}

Result<MigrateTarget> MigrateTarget::parse(const Json& arguments,
                                           const NamedDescriptors& descriptors)
{
    const bool has_uri = arguments.contains("uri");
    if (has_uri && arguments.contains("channels"))
        return fail(ErrorKind::Invalid, "'uri' and 'channels' arguments are mutually exclusive");
    if (!has_uri && !arguments.contains("channels"))
        return fail(ErrorKind::Invalid, "Parameter 'uri' is missing");
    if (has_uri && !arguments["uri"].is_string())
        return fail(ErrorKind::Invalid, "Invalid parameter type for 'uri', expected: string");
    Result<std::string> uri =
        has_uri ? json_string(arguments, "uri") : uri_of_channels(arguments["channels"]);
    if (!uri)
        return pass(uri);
    if (uri->starts_with("exec:") || uri->starts_with("file:"))
        return MigrateTarget{true, {}};
    if (uri->starts_with("fd:") &&
        descriptors.kind(uri->substr(3)) == NamedDescriptors::Kind::Other)
        return MigrateTarget{true, {}};
    auto address = MigrationAddress::parse(*uri);
    if (!address)
        return pass(address);
    return MigrateTarget{false, std::move(*address)};
}

} // namespace drover
