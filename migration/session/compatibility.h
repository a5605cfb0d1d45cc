// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/machine.h"
#include "migration/ram/ram_block.h"
#include "migration/stream/hello.h"

#include <span>
#include <vector>

namespace drover {

/// What is found of a guest and a destination before a page is sent: each in words, with a remedy.
struct Findings {
    std::vector<Error> blocks;   ///< why it cannot go there; a migration is refused with the first
    std::vector<Error> warnings; ///< what will be different for the guest, or may be

    /// Keeps a check's refusal.
    void note(Status check)
    {
        if (!check)
            blocks.push_back(std::move(check.error()));
    }
    void block(std::string what, std::string remedy)
    {
        blocks.push_back({ErrorKind::Incompatible, std::move(what), std::move(remedy)});
    }
    void warn(std::string what, std::string remedy)
    {
        warnings.push_back({ErrorKind::Incompatible, std::move(what), std::move(remedy)});
    }
};

/// Whether a guest of `source` can run in `destination`, in words that name both sides' values and
/// the remedy. In the neutral form it may be of another kind, version or accelerator.
/// Pure; neither is trusted. The objects are those of Machine::describe():
///   kind, version, arch, machine, accelerator: strings;
///   cpus: number of vCPUs; cpu_model: string;
///   cpu_features: object of register name → number, a bit for each feature (may be missing);
///   uuid: string, of a source only where it is to be compared;
///   devices: object of device path or id → type;
///   hpet, hpet_counts, pv_drivers, viridian, tsc_khz, high_pins: translation_check.h.
[[nodiscard]] Findings judge_machines(const Json& source, const Json& destination, StateForm form);
/// The first of its blocks.
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
