// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "monitor/json.h"

#include <optional>
#include <string>

/// HMP's words about migration and the guest's running, by QMP's human-monitor-command: each is the
/// QMP command that it stands for.
namespace drover {

struct HumanCommand {
    std::string command; ///< of QMP
    Json arguments = Json::object();
    std::string refusal; ///< not empty: what is wrong with the line
};

/// Nothing if the line is QEMU's business. `parameters` are those of query-migrate-parameters: what
/// a value is like is seen from them.
[[nodiscard]] std::optional<HumanCommand> read_human_command(const std::string& line,
                                                             const Json& parameters);

/// The text for a human of the QMP command's whole response.
[[nodiscard]] std::string human_answer(const std::string& command, const Json& response);

} // namespace drover
