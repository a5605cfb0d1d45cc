// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/host/toml_json.h"

#include "contrib/balancer/host/vm_definition.h"
#include "util/fd.h"

#include <sstream>
#include <toml++/toml.h>

namespace drover::balancer {

Result<Json> read_toml_as_json(const std::string& path)
{
    auto text = read_file(path);
    if (!text)
        return pass(text);
    try {
        const toml::table table = toml::parse(*text, path);
        std::ostringstream json;
        json << toml::json_formatter{table};
        return parse_json(json.str());
    } catch (const toml::parse_error& error) {
        const toml::source_position& at = error.source().begin;
        return fail(ErrorKind::Invalid, path + ":" + std::to_string(at.line) + ":" +
                                            std::to_string(at.column) + ": " +
                                            std::string(error.description()));
    }
}

Result<VmDefinition> read_vm_file(const std::string& path)
{
    auto json = read_toml_as_json(path);
    if (!json)
        return pass(json);
    auto definition = vm_definition_from_json(*json);
    if (!definition)
        return std::unexpected(std::move(definition.error()).in(path));
    return definition;
}

} // namespace drover::balancer
