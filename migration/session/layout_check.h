// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "monitor/json.h"

namespace drover {

/// What a hypervisor would compare only when it loads the device state, at the end of the copy, in
/// the guest's pause. Members of Machine::describe(), each of which may be missing; then it is not
/// compared:
///   cpu: object of what identifies the CPU (vendor, family, …) → its value;
///   topology: object of threads, cores, …, maxcpus → their number;
///   own_memory: object of memory of the hypervisor's own (ROMs, video) → {used, total} bytes;
///   dimms: object of memory device → where the guest sees it;
///   pci: object of place ("slot.function") → the device there.
[[nodiscard]] Status check_layout(const Json& source, const Json& destination);

} // namespace drover
