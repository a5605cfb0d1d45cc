// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/host/droverd_config.h"
#include "contrib/balancer/host/vm.h"

namespace drover::balancer {

/// The environment variable by which an emulator of ours is known again: this VM's directory.
inline constexpr char vm_environment[] = "DROVER_VM_DIRECTORY";

struct VmStart {
    bool incoming = false;            ///< it waits for migrate-incoming
    bool held = false;                ///< its guest stands when it has come, until `cont` (-S)
    bool is_there = false;            ///< of Xen: the domain exists, and is to be served
    std::vector<std::string> cgroups; ///< the slice's
};

/// The path of a program, beside droverd or in the search path; empty: there is none.
[[nodiscard]] std::string find_program(const std::string& name);

/// The path of the emulator that a definition names: one that the configuration allows.
[[nodiscard]] Result<std::string> find_emulator(const DroverdConfig& config,
                                                const VmDefinition& definition);

/// Starts the emulator of `record` (definition, directory and socket are set). The process is
/// filled in. Makes its taps.
[[nodiscard]] Status start_vm(const DroverdConfig& config, const VmStart& start, VmRecord& record);

/// The process whose start was begun for this directory, if there is one.
[[nodiscard]] std::optional<ProcessId> find_started(const std::string& directory);

} // namespace drover::balancer
