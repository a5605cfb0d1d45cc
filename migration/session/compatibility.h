// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/machine.h"
#include "migration/ram/ram_block.h"
#include "migration/stream/hello.h"

#include <span>

namespace drover {

/// Whether a guest of `source` can run in `destination`; refuses in words that name both sides'
/// values and the remedy. In the neutral form it may be of another kind, version or accelerator.
/// Pure. The objects are those of Machine::describe():
///   kind, version, arch, machine, accelerator: strings;
///   cpus: number of vCPUs; cpu_model: string;
///   cpu_features: object of register name → number, a bit for each feature (may be missing);
///   uuid: string, of a source only where it is to be compared;
///   devices: object of device path or id → type.
[[nodiscard]] Status check_machines(const Json& source, const Json& destination,
                                    StateForm form = StateForm::Own);

/// Whether the destination waits for this very guest: a source that was told to validate it
/// (validate-uuid) names its UUID; who was given none fits all. Unlike the others, this is no
/// matter of options that may be mended: the destination's wait is over, as in QEMU.
[[nodiscard]] Status check_identity(const Json& source, const Json& destination);

/// Whether both have the same RAM: blocks of the same names and sizes.
[[nodiscard]] Status check_ram(std::span<const stream::RamBlockInfo> source,
                               std::span<const RamBlock> destination);

/// Bytes.
[[nodiscard]] uint64_t all_ram(std::span<const stream::RamBlockInfo> blocks);

[[nodiscard]] std::vector<stream::RamBlockInfo> ram_info(std::span<const RamBlock> ram);

} // namespace drover
