// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "monitor/qmp_server.h"
#include "util/result.h"
#include "vmm/qemu/blockers.h"
#include "vmm/qemu/host_facts.h"
#include "vmm/qemu/incoming_plan.h"
#include "vmm/qemu/ram_plan.h"

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace drover::qemu {

/// What a command line asks for, ready to be carried out.
struct LaunchPlan {
    std::string binary;             ///< the real QEMU's path
    std::string architecture;       ///< of the guest: "x86_64"
    bool execute_unchanged = false; ///< a probing line: execv `binary` with `arguments` as they are
    std::string own_help; ///< not empty: print it and exit with 0; nothing else is filled in
    std::vector<std::string> arguments; ///< argv[1]…; qemu_arguments() completes them
    std::vector<RamFile> ram;
    std::vector<MonitorEndpoint> monitors;
    IncomingPlan incoming;
    bool start_paused = false; ///< the user's -S
    bool daemonize = false;
    std::string pidfile;                ///< QEMU writes it, locks it, and removes it
    std::string name;                   ///< of the guest; may be empty
    std::string migrate_policy;         ///< the texts of all -migrate-policy, joined by commas
    bool keep_aio = false;              ///< -vmm qemu,aio=keep; see disk_aio.h
    AioWords aio;                       ///< what is said of disks; see blockers.h
    std::optional<std::string> blocker; ///< why it can never be migrated, by its line alone
    std::vector<std::string> notes;     ///< one-line warnings for the user
};

/// `program_name` is argv[0], `arguments` the rest. Changes nothing on the host.
[[nodiscard]] Result<LaunchPlan> plan_launch(std::string_view program_name,
                                             std::span<const std::string> arguments,
                                             const HostFacts& host);

/// The final argv[1]… of QEMU. `ram_fds` are those of create_ram_file(), in the order of plan.ram;
/// each of `qmp_fds` becomes a QMP monitor on a connected socket. QEMU inherits all of them.
/// -S is always there, and "-incoming defer" if the plan has an incoming migration.
[[nodiscard]] std::vector<std::string>
qemu_arguments(const LaunchPlan& plan, std::span<const int> ram_fds, std::span<const int> qmp_fds);

} // namespace drover::qemu
