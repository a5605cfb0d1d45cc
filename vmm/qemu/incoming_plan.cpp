// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/incoming_plan.h"

#include "monitor/json.h"
#include "vmm/qemu/opts.h"

namespace drover::qemu {

namespace {

constexpr const char* how_to_write = "write tcp:HOST:PORT, unix:PATH, fd:NAME or defer";

std::unexpected<Error> refused(const std::string& what)
{
    return fail(ErrorKind::Invalid, "-incoming: " + what, how_to_write);
}

/// "channel-type=main,addr.transport=socket,…" as the object that it stands for.
Json from_dotted(const Opts& opts)
{
    Json object = Json::object();
    for (const Opts::Item& item : opts.items()) {
        Json* place = &object;
        size_t start = 0;
        for (size_t dot = 0; (dot = item.key.find('.', start)) != std::string::npos;
             start = dot + 1) {
            place = &(*place)[item.key.substr(start, dot - start)];
            if (!place->is_object())
                *place = Json::object();
        }
        (*place)[item.key.substr(start)] = item.value;
    }
    return object;
}

/// A member as text: ports are written as numbers, too.
std::string text_of(const Json& object, const char* key)
{
    const auto found = object.find(key);
    if (found == object.end())
        return {};
    return found->is_string() ? found->get<std::string>() : found->dump();
}

Result<std::string> socket_uri(const Json& address)
{
    const std::string type = text_of(address, "type");
    if (type == "unix")
        return "unix:" + text_of(address, "path");
    if (type == "fd")
        return "fd:" + text_of(address, "str");
    if (type != "inet")
        return refused("a socket of the type '" + type + "' is not supported");
    const std::string host = text_of(address, "host");
    const bool v6 = host.find(':') != std::string::npos;
    return "tcp:" + (v6 ? "[" + host + "]" : host) + ":" + text_of(address, "port");
}

/// Only what the URI exec:COMMAND says can be said: a shell and its command.
Result<std::string> exec_uri(const Json& address)
{
    const auto args = address.find("args");
    if (args == address.end() || !args->is_array() || args->size() != 3 ||
        (*args)[1] != Json("-c") || !(*args)[2].is_string())
        return refused("args of the transport exec must be a shell, -c and a command");
    return "exec:" + (*args)[2].get<std::string>();
}

Result<std::string> file_uri(const Json& address)
{
    const std::string offset = text_of(address, "offset");
    return "file:" + text_of(address, "filename") + (offset.empty() ? "" : ",offset=" + offset);
}

Result<std::string> uri_of(const Json& channel)
{
    const std::string kind = text_of(channel, "channel-type");
    if (!kind.empty() && kind != "main")
        return refused("a channel of the type '" + kind + "' is not supported");
    const auto inner = channel.find("addr");
    const Json& address = inner == channel.end() ? channel : *inner;
    if (!address.is_object())
        return refused("addr is not an object");
    const std::string transport = text_of(address, "transport");
    if (transport == "socket")
        return socket_uri(address);
    if (transport == "exec")
        return exec_uri(address);
    if (transport == "file")
        return file_uri(address);
    return refused("the transport '" + transport + "' is not supported");
}

bool is_channel(const std::string& text)
{
    return text.starts_with('{') || text.starts_with("channel-type=") ||
           text.starts_with("addr.") || text.starts_with("transport=");
}

Result<std::string> read_incoming(const std::string& text)
{
    if (!is_channel(text))
        return text;
    if (text.starts_with('{')) {
        const Json channel = Json::parse(text, nullptr, false);
        if (!channel.is_object())
            return refused("not a JSON object: " + text);
        return uri_of(channel);
    }
    const auto opts = Opts::parse(text, "");
    if (!opts)
        return std::unexpected(opts.error());
    return uri_of(from_dotted(*opts));
}

} // namespace

Result<IncomingPlan> plan_incoming(CommandLine& line)
{
    IncomingPlan plan;
    for (const Word& word : line.words()) {
        if (!word.is("incoming"))
            continue;
        auto uri = read_incoming(word.text());
        if (!uri)
            return pass(uri);
        plan = {true, std::move(*uri)};
    }
    line.remove("incoming");
    return plan;
}

} // namespace drover::qemu
