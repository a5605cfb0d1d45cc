// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "monitor/json.h"
#include "util/result.h"

#include <string>

namespace drover::balancer {

/// A TOML file as JSON; a file that cannot be read or is no TOML is an error "FILE:LINE:COLUMN: …".
/// At most 1 MiB.
[[nodiscard]] Result<Json> read_toml_as_json(const std::string& path);

} // namespace drover::balancer
