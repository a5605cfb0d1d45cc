// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/cluster/sqlite.h"

#include <string_view>

namespace drover::balancer::cluster {

/// The tables, made or brought up to date. A file of a newer Drover is refused.
[[nodiscard]] Status make_schema(sql::Database& database);

/// The columns of a migration, in the order that the journal reads and writes them.
extern const std::string_view move_columns;
extern const std::string_view move_parameters;
extern const std::string_view move_updates;

} // namespace drover::balancer::cluster
