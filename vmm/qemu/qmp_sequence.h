// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "monitor/qmp_client.h"

#include <functional>
#include <string>
#include <vector>

namespace drover::qemu {

/// One command of a sequence.
struct QmpStep {
    std::string command;
    Json arguments = Json::object();
    std::vector<UniqueFd> fds = {};
};

/// Executes commands one after the other and stops at the first that fails, or when `go_on` (asked
/// before each) says no: then the error's kind is Cancelled. `done` gets all return values.
void run_sequence(QmpClient& client, std::vector<QmpStep> steps, std::function<bool()> go_on,
                  std::function<void(Result<std::vector<Json>>)> done);

} // namespace drover::qemu
