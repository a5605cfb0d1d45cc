// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "monitor/json.h"
#include "util/result.h"

#include <string>
#include <vector>

/// What droverd must not forget when it is killed: one small JSON file a thing.
namespace drover::balancer {

/// Written to a temporary file, synced, renamed over `path`, and the directory synced: whoever
/// reads it later finds the old state or the new one, and never half of one.
[[nodiscard]] Status save_state(const std::string& path, const Json& state);

[[nodiscard]] Result<Json> load_state(const std::string& path);

/// No error if there is none.
void remove_state(const std::string& path);

/// The names, without ".json", of the state files of a directory; empty if there is no directory.
[[nodiscard]] std::vector<std::string> list_states(const std::string& directory);

/// Makes the directory and those above it, for our user alone.
[[nodiscard]] Status make_directories(const std::string& path);

} // namespace drover::balancer
