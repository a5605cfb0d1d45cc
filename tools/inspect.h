// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/state/machine_state.h"
#include "util/byte_source.h"

namespace drover::tools {

struct InspectOptions {
    std::string file;
    std::string section;
    bool json = false;
    bool neutral = false; ///< the hypervisors' common state in place of their own
};

/// Print what they are asked for of a file in their hypervisor's form.
[[nodiscard]] Status inspect_qemu(const InspectOptions& options, const ByteSource& source);
[[nodiscard]] Status inspect_xen(const InspectOptions& options, const ByteSource& source);

/// A file's words go to a terminal: nothing in them may speak to it.
[[nodiscard]] std::string harmless(const std::string& text);
/// docs/machine-state.md, as JSON.
void print_neutral(const state::MachineState& machine, const std::vector<std::string>& not_carried);
[[nodiscard]] std::unexpected<Error> no_such_section(const std::string& name);

} // namespace drover::tools
