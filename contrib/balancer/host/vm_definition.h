// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "monitor/json.h"
#include "util/result.h"

#include <string>
#include <vector>

namespace drover::balancer {

enum class VmKind {
    Drover, ///< drover-system-…: moves by Drover's migration
    Qemu,   ///< stock QEMU: moves by QEMU's own
    Xen,    ///< a domain of Xen's: moves by drover-xen
};

[[nodiscard]] std::string_view to_string(VmKind kind);

struct VmNic {
    std::string id;                ///< of the netdev
    double expected_bandwidth = 0; ///< bytes/s, each direction; 0: nothing was promised
    std::string ifname;            ///< of the tap; empty: it has none, or QEMU chooses
    std::string bridge; ///< droverd makes the tap and joins it to this; empty: it does not
};

/// What a VM is, on whichever host it runs: docs/balancer-qmp.md, "A VM's definition".
struct VmDefinition {
    std::string name;
    VmKind kind = VmKind::Drover; ///< how it runs where it is
    std::string emulator;
    std::vector<std::string> command; ///< without the emulator's own name
    std::string xen_config; ///< file of xl's, by which a Xen host runs it; empty: none can
    std::string policy;     ///< empty: the balancer chooses
    std::vector<VmNic> nics;
    bool pinned = false;
    bool autostart = false; ///< when its host is booted
    std::vector<std::string> groups;
    std::vector<std::string> together;
    std::vector<std::string> apart;
    std::vector<std::string> needs;
};

/// Letters, digits, '.', '_', '-'; 1 to 64 of them, the first no '.' or '-': it becomes part of
/// paths.
[[nodiscard]] bool is_vm_name(std::string_view name);

/// Which hosts can run it, Drover moving it: with a command line those of QEMU, with a file of xl's
/// those of Xen. Stock QEMU's guests go to QEMU only.
[[nodiscard]] bool runs_on_qemu(const VmDefinition& definition);
[[nodiscard]] bool runs_on_xen(const VmDefinition& definition);

/// What it is on this host, if it is there to take it: kind "drover" becomes "xen", or the reverse.
[[nodiscard]] Status adapt_kind(VmDefinition& definition, bool host_is_xen);

/// All or nothing; the error names the member and says what it may be.
[[nodiscard]] Result<VmDefinition> vm_definition_from_json(const Json& json);
[[nodiscard]] Json to_json(const VmDefinition& definition);

/// A VM file (TOML); errors begin with "FILE:LINE:COLUMN" where the place is known.
[[nodiscard]] Result<VmDefinition> read_vm_file(const std::string& path);

/// `text` with ${host} and ${run} replaced.
[[nodiscard]] std::string expand(std::string text, const std::string& host, const std::string& run);

} // namespace drover::balancer
