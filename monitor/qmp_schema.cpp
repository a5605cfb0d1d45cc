// SPDX-License-Identifier: GPL-2.0-or-later
#include "monitor/qmp_schema.h"

#include <set>
#include <string_view>

namespace drover {

namespace {

bool has_name(const Json& entity, std::string_view name)
{
    return json_string(entity, "name") == name;
}

Json* find_entity(Json& schema, std::string_view name)
{
    for (Json& entity : schema) {
        if (has_name(entity, name))
            return &entity;
    }
    return nullptr;
}

std::set<std::string> names_of(const Json& list)
{
    std::set<std::string> names;
    for (const Json& entity : list)
        names.insert(json_string(entity, "name"));
    return names;
}

/// QEMU's schema holds only the built-in types that it uses itself.
void add_builtin_types(Json& schema)
{
    const std::set<std::string> names = names_of(schema);
    static constexpr std::pair<const char*, const char*> builtins[] = {{"str", "string"},
                                                                       {"int", "int"},
                                                                       {"number", "number"},
                                                                       {"bool", "boolean"},
                                                                       {"any", "value"}};
    for (const auto& [name, json_type] : builtins) {
        if (!names.contains(name))
            schema.push_back({{"name", name}, {"meta-type", "builtin"}, {"json-type", json_type}});
    }
}

Json describe_member(std::string name, const std::string& type)
{
    Json member = {{"type", type}};
    if (name.ends_with('?')) {
        name.pop_back();
        member["default"] = nullptr; // how the schema says "optional"
    }
    member["name"] = std::move(name);
    return member;
}

void add_command(Json& schema, const OwnCommand& command)
{
    // QAPI's names have no colon, and QEMU's masked type names are numbers.
    const std::string arguments_type = "drover:" + command.name + "-arguments";
    Json members = Json::array();
    for (const auto& [name, type] : command.arguments)
        members.push_back(describe_member(name, type));
    schema.push_back(
        {{"name", arguments_type}, {"meta-type", "object"}, {"members", std::move(members)}});
    schema.push_back({{"name", command.name},
                      {"meta-type", "command"},
                      {"arg-type", arguments_type},
                      {"ret-type", "any"}});
}

void add_member_to_migration_info(Json& schema)
{
    const Json* command = find_entity(schema, "query-migrate");
    Json* info = command ? find_entity(schema, json_string(*command, "ret-type")) : nullptr;
    if (!info || !info->contains("members") || !(*info)["members"].is_array())
        return;
    Json& members = (*info)["members"];
    if (!names_of(members).contains("drover"))
        members.push_back(describe_member("drover?", "any"));
}

} // namespace

Json merge_commands(Json qemu_list, const std::vector<std::string>& own)
{
    if (!qemu_list.is_array())
        qemu_list = Json::array();
    std::set<std::string> names = names_of(qemu_list);
    for (const std::string& name : own) {
        if (names.insert(name).second)
            qemu_list.push_back({{"name", name}});
    }
    return qemu_list;
}

Json merge_schema(Json qemu_schema, const std::vector<OwnCommand>& own)
{
    if (!qemu_schema.is_array())
        qemu_schema = Json::array();
    add_builtin_types(qemu_schema);
    std::set<std::string> names = names_of(qemu_schema);
    for (const OwnCommand& command : own) {
        if (names.insert(command.name).second)
            add_command(qemu_schema, command);
    }
    add_member_to_migration_info(qemu_schema);
    return qemu_schema;
}

} // namespace drover
