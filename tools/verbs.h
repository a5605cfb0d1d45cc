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

inline constexpr char check_migration_usage[] = "drover check-migration SOCKET URI [--json]\n"
                                                "drover check-migration VM HOST [--json]\n";
/// Exit codes: exit_done: it can go; exit_failed: it cannot; 3: nobody can tell.
[[nodiscard]] Result<int> run_check_migration(Words words);

inline constexpr char cpu_baseline_usage[] =
    "drover cpu-baseline HOST... [--json]\n"
    "drover cpu-baseline --describe [--qemu PROGRAM] [--accel kvm|tcg] [--cpu MODEL] >HOST-FILE\n";
[[nodiscard]] Result<int> run_cpu_baseline(Words words);

inline constexpr char report_usage[] = "drover report FILE >PICTURE.svg\n";
[[nodiscard]] Result<int> run_report(Words words);

inline constexpr char inspect_usage[] = "drover inspect FILE [--section NAME] [--json] [--state]\n";
[[nodiscard]] Result<int> run_inspect(Words words);

inline constexpr char convert_usage[] =
    "drover convert FILE NEW-FILE -- QEMU OPTION...\n"
    "drover convert FILE NEW-FILE --xen NAME [--config JSON-FILE]\n";
[[nodiscard]] Result<int> run_convert(Words words);

/// Those that speak to the fleet's balancer take --json, --balancer ADDRESS and --tls-….
inline constexpr char top_usage[] = "drover top [--once]\n";
[[nodiscard]] Result<int> run_top(Words words);

inline constexpr char hosts_usage[] = "drover hosts\n";
[[nodiscard]] Result<int> run_hosts(Words words);

inline constexpr char vms_usage[] = "drover vms\n";
[[nodiscard]] Result<int> run_vms(Words words);

inline constexpr char plan_usage[] = "drover plan\n";
[[nodiscard]] Result<int> run_plan(Words words);

inline constexpr char explain_usage[] = "drover explain ID\n";
[[nodiscard]] Result<int> run_explain(Words words);

inline constexpr char approve_usage[] = "drover approve ID\n";
[[nodiscard]] Result<int> run_approve(Words words);

inline constexpr char cancel_usage[] = "drover cancel ID\n";
[[nodiscard]] Result<int> run_cancel(Words words);

inline constexpr char fleet_migrate_usage[] = "drover migrate VM [HOST]\n";
[[nodiscard]] Result<int> run_fleet_migrate(Words words);
/// Whether "migrate" is meant for the balancer: the first word is a name and no socket, and the
/// second no URI.
[[nodiscard]] bool is_fleet_migrate(Words words);

inline constexpr char evacuate_usage[] = "drover evacuate HOST [--cancel]\n";
[[nodiscard]] Result<int> run_evacuate(Words words);

inline constexpr char history_usage[] = "drover history [--limit N] [--vm VM]\n";
[[nodiscard]] Result<int> run_history(Words words);

inline constexpr char mode_usage[] = "drover mode [off|recommend|automatic]\n";
[[nodiscard]] Result<int> run_mode(Words words);

} // namespace drover::tools
