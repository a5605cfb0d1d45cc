// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "util/result.h"

namespace drover::kvm {

struct KvmSpeed {
    double instructions_per_second = 0;

    /// Hardware reaches billions; a KVM that emulates is hundreds of times below this bound.
    [[nodiscard]] bool usable() const { return instructions_per_second >= 5e6; }
};

/// Runs a short loop as a guest under /dev/kvm and times it, in a child process that is given one
/// second. The error says why KVM cannot be used. Takes well under 300 ms, as a rule.
[[nodiscard]] Result<KvmSpeed> probe_kvm();

} // namespace drover::kvm
