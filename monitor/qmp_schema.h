// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "monitor/json.h"

#include <string>
#include <vector>

namespace drover {

/// query-commands: QEMU's list plus Drover's own commands, each name once.
[[nodiscard]] Json merge_commands(Json qemu_list, const std::vector<std::string>& own);

/// A command of Drover's own, for introspection. Its arguments and return value are described as
/// the schema's types; see docs/qmp.md.
struct OwnCommand {
    std::string name;
    /// Argument name → one of "str", "int", "number", "bool", "any"; optional ones end in '?'.
    std::vector<std::pair<std::string, std::string>> arguments;
};

/// query-qmp-schema: QEMU's schema with entries for Drover's own commands, whose types do not
/// collide with QEMU's (meaningless) type names, and with the member "drover" added to the object
/// that query-migrate returns (MigrationInfo), found through the command's own entry.
[[nodiscard]] Json merge_schema(Json qemu_schema, const std::vector<OwnCommand>& own);

} // namespace drover
