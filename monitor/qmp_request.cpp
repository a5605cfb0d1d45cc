// SPDX-License-Identifier: GPL-2.0-or-later
#include "monitor/qmp_request.h"

namespace drover {

// The texts of the errors follow QEMU's, because programs look at them.

namespace {

Status read_member(const std::string& name, Json& value, bool oob_enabled, bool& has_command,
                   QmpRequest& request)
{
    const auto member = [&] { return "QMP input member '" + name + "' "; };
    if (name == "execute" || (name == "exec-oob" && oob_enabled)) {
        if (!value.is_string())
            return fail(ErrorKind::Invalid, member() + "must be a string");
        if (has_command)
            return fail(ErrorKind::Invalid, "QMP input member 'execute' clashes with 'exec-oob'");
        has_command = true;
        request.command = value.get_ref<const std::string&>();
        request.out_of_band = name == "exec-oob";
    } else if (name == "arguments") {
        if (!value.is_object())
            return fail(ErrorKind::Invalid, member() + "must be an object");
        request.arguments = std::move(value);
    } else if (name != "id") {
        return fail(ErrorKind::Invalid, member() + "is unexpected");
    }
    return {};
}

Status read_request(Json& message, bool oob_enabled, QmpRequest& request)
{
    bool has_command = false;
    for (auto& [name, value] : message.items()) {
        if (Status read = read_member(name, value, oob_enabled, has_command, request); !read)
            return read;
    }
    if (!has_command)
        return fail(ErrorKind::Invalid, "QMP input lacks member 'execute'");
    return {};
}

} // namespace

ParsedRequest parse_request(const std::string& text, bool oob_enabled)
{
    ParsedRequest parsed;
    parsed.request.arguments = Json::object();
    Result<Json> message = parse_json(text);
    if (!message) {
        parsed.refusal = QmpResponse::error(message.error());
    } else if (!message->is_object()) {
        parsed.refusal = QmpResponse::error("QMP input must be a JSON object");
    } else {
        if (const auto id = message->find("id"); id != message->end())
            parsed.id = *id;
        if (const Status read = read_request(*message, oob_enabled, parsed.request); !read)
            parsed.refusal = QmpResponse::error(read.error());
    }
    return parsed;
}

Result<ClientCapabilities> parse_capabilities(const Json& arguments, bool oob_offered)
{
    ClientCapabilities capabilities;
    for (const auto& [name, value] : arguments.items()) {
        if (name != "enable")
            return fail(ErrorKind::Invalid, "Parameter '" + name + "' is unexpected");
        if (!value.is_array())
            return fail(ErrorKind::Invalid, "Invalid parameter type for 'enable', expected: array");
        for (const Json& capability : value) {
            if (capability != "oob")
                return fail(ErrorKind::Invalid,
                            "Parameter 'enable' does not accept value " + dump_json(capability));
            if (!oob_offered)
                return fail(ErrorKind::Invalid, "Capability 'oob' is not offered here");
            capabilities.oob = true;
        }
    }
    return capabilities;
}

} // namespace drover
