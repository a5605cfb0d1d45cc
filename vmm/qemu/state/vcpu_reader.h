// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/state/vcpu.h"
#include "vmm/qemu/state/qemu_state.h"

namespace drover::qemu {

struct ReadVcpus {
    std::vector<state::Vcpu> vcpus; ///< in the order of their numbers
    /// What the stream holds of them and the neutral state does not, by name with the reason why
    /// that is safe, or that it is not known.
    std::vector<std::string> not_carried;
};

/// The vCPUs of a stream of QEMU's (7.2 to 10.0, under TCG or KVM).
[[nodiscard]] Result<ReadVcpus> read_vcpus(const QemuState& state, const ByteSource& source);

} // namespace drover::qemu
