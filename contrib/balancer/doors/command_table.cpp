// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/doors/command_table.h"

#include "util/log.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <exception>
#include <memory>

namespace drover::balancer {

namespace {

struct Type {
    const char* name;
    const char* word; ///< as QEMU's messages call it
    bool (*fits)(const Json& value);
};

constexpr Type types[] = {
    {"str", "string", [](const Json& value) { return value.is_string(); }},
    {"int", "integer",
     [](const Json& value) {
         return value.is_number_integer() &&
                (!value.is_number_unsigned() || value.get<uint64_t>() <= INT64_MAX);
     }},
    {"number", "number",
     [](const Json& value) { return value.is_number() && std::isfinite(value.get<double>()); }},
    {"bool", "boolean", [](const Json& value) { return value.is_boolean(); }},
    {"object", "object", [](const Json& value) { return value.is_object(); }},
    {"list", "array", [](const Json& value) { return value.is_array(); }},
    {"any", "value", [](const Json&) { return true; }},
};

/// Nothing for a word that add() was given wrongly: then the argument takes anything but a crash.
const Type& type_named(const std::string& name)
{
    const auto* found =
        std::ranges::find_if(types, [&](const Type& type) { return name == type.name; });
    return found != std::end(types) ? *found : types[std::size(types) - 1];
}

/// The first thing that is wrong, in QEMU's words; empty if nothing is.
std::string check_arguments(const OwnCommand& form, const Json& given)
{
    size_t known = 0;
    for (auto [name, type_name] : form.arguments) {
        const bool optional = name.ends_with('?');
        if (optional)
            name.pop_back();
        const auto value = given.find(name);
        if (value == given.end()) {
            if (optional)
                continue;
            return "Parameter '" + name + "' is missing";
        }
        ++known;
        const Type& type = type_named(type_name);
        if (!type.fits(*value))
            return "Invalid parameter type for '" + name + "', expected: " + type.word;
    }
    if (known == given.size())
        return {};
    for (const auto& [name, value] : given.items()) {
        const auto is_it = [&](const auto& argument) {
            return argument.first == name || argument.first == name + "?";
        };
        if (name.ends_with('?') || std::ranges::none_of(form.arguments, is_it))
            return "Parameter '" + name + "' is unexpected";
    }
    return {};
}

std::string refuse_role(const std::string& command, Role least, const Client& client)
{
    return command + " takes the role '" + std::string(to_string(least)) + "', and " +
           (client.name.empty() ? "this client" : client.name) + " has " +
           (client.role == Role::None ? "none (its certificate names no role as its OU)"
                                      : "'" + std::string(to_string(client.role)) + "'");
}

void run_safely(const CommandTable::Function& function, const QmpRequest& request,
                const Client& client, QmpResponder respond)
{
    const auto pending = std::make_shared<QmpResponder>(std::move(respond));
    const auto once = [pending](QmpResponse response) {
        if (const QmpResponder call = std::exchange(*pending, nullptr))
            call(std::move(response));
    };
    try {
        function(request.arguments, client, once);
    } catch (const std::exception& exception) {
        log::error(request.command + ": " + exception.what());
        once(QmpResponse::error("internal error: " + std::string(exception.what())));
    }
}

} // namespace

CommandTable::CommandTable(Json version)
{
    add("query-commands", Role::Observe, {},
        [this](const Json&, const Client&, const QmpResponder& respond) {
            respond(QmpResponse::ok(list()));
        });
    add("query-version", Role::Observe, {},
        [version = std::move(version)](const Json&, const Client&, const QmpResponder& respond) {
            respond(QmpResponse::ok(version));
        });
}

void CommandTable::add(const std::string& name, Role least,
                       std::vector<std::pair<std::string, std::string>> arguments,
                       Function function)
{
    commands_[name] = {{name, std::move(arguments)}, least, std::move(function)};
}

void CommandTable::handle(QmpRequest request, const Client& client, QmpResponder respond)
{
    const auto found = commands_.find(request.command);
    if (found == commands_.end())
        return respond(QmpResponse::error("The command " + request.command + " has not been found",
                                          "CommandNotFound"));
    const Command& command = found->second;
    if (client.role < command.least)
        return respond(QmpResponse::error(refuse_role(request.command, command.least, client)));
    if (std::string wrong = check_arguments(command.form, request.arguments); !wrong.empty())
        return respond(QmpResponse::error(std::move(wrong)));
    run_safely(command.function, request, client, std::move(respond));
}

Json CommandTable::list() const
{
    Json list = Json::array();
    for (const auto& [name, command] : commands_)
        list.push_back({{"name", name}, {"role", to_string(command.least)}});
    return list;
}

Json make_greeting(const std::string& program)
{
    std::array<int, 3> numbers = {};
    const char* rest = DROVER_VERSION;
    const char* end = rest + std::string_view(DROVER_VERSION).size();
    for (int& number : numbers) {
        rest = std::from_chars(rest, end, number).ptr;
        rest += rest < end ? 1 : 0; // the point
    }
    return {{"version",
             {{"qemu", {{"major", numbers[0]}, {"minor", numbers[1]}, {"micro", numbers[2]}}},
              {"package", program + " " + DROVER_VERSION}}},
            {"capabilities", Json::array()}};
}

} // namespace drover::balancer
