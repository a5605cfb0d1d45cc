// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "tools/tool_run.h"

namespace drover::tools {

/// Each verb reads its words, prints its result on stdout and errors on stderr. The outer error is
/// one of usage; the value is the exit code.
inline constexpr char qmp_usage[] =
    "drover qmp SOCKET COMMAND [JSON-ARGUMENTS] [--timeout S]\n"
    "drover qmp SOCKET [COMMAND [JSON-ARGUMENTS]] --wait-event NAME [--match KEY=VALUE]... "
    "[--timeout S]\n";
[[nodiscard]] Result<int> run_qmp(Words words);

inline constexpr char migrate_usage[] = "drover migrate SOCKET URI [--timeout S] [--json]\n";
[[nodiscard]] Result<int> run_migrate(Words words);

inline constexpr char report_usage[] = "drover report FILE >PICTURE.svg\n";
[[nodiscard]] Result<int> run_report(Words words);

} // namespace drover::tools
