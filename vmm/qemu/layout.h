// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "monitor/qmp_client.h"

#include <functional>
#include <string>

namespace drover::qemu {

/// The members of a description that layout_check.h compares, asked of the running QEMU; what it
/// does not know is left out. `cpu` is the first vCPU's QOM path. Not called when `qmp` is
/// destroyed before.
void ask_layout(QmpClient& qmp, const std::string& cpu, std::function<void(Json)> done);

// Its parts, for tests.

/// HMP's "info ramblock": name → {used, total}. Blocks without a name are used by nothing.
[[nodiscard]] Json own_memory(const std::string& ramblocks);
/// query-pci: the devices of bus 0. What is behind bridges is numbered by the guest, and compared
/// by its id.
[[nodiscard]] Json pci_places(const Json& buses);
/// query-memory-devices: id → where it is.
[[nodiscard]] Json dimm_places(const Json& devices);

} // namespace drover::qemu
