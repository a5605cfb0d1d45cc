// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/session/compatibility.h"

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace drover {

/// Compares what the guest sees of its CPU (the description's "cpu_features") with what the
/// destination gives it. Registers that one side does not tell are not compared. Of one kind of
/// hypervisor both must be the same; between kinds nothing may be missing but what shows in the
/// guest's state where it is used, or does not matter.
void judge_cpu_features(const Json& source, const Json& destination, StateForm form,
                        Findings& found);

/// Whether the guest's CPU shows this bit.
[[nodiscard]] bool has_feature(const Json& machine, const char* register_name, unsigned bit);

/// As QEMU's -cpu spells them: "avx512f, pku" of a register like "CPUID.7.0:EBX"; a bit without a
/// name as "bit 7 of CPUID.7.0:EBX".
[[nodiscard]] std::string feature_names(const std::string& register_name, uint64_t bits);

/// The same, one by one, without bits that have no name.
[[nodiscard]] std::vector<std::string> feature_list(const std::string& register_name,
                                                    uint64_t bits);

/// Bits of a register that a guest may miss on a hypervisor of another kind: not those that do not
/// matter there, or show in its state where it uses them.
[[nodiscard]] uint64_t bits_between_kinds(const std::string& register_name);

/// The register and bit of a name; nothing for one that is not known here.
[[nodiscard]] std::optional<std::pair<std::string, unsigned>>
register_of_feature(const std::string& name);

} // namespace drover
