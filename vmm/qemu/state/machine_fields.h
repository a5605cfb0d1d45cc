// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/state/machine_state.h"
#include "vmm/qemu/state/qemu_state.h"

namespace drover::qemu {

struct ReadMachine {
    state::MachineState machine;
    /// What QEMU has of it and the neutral state does not, by name with the reason why that is
    /// safe, or "not known here": with such a field the guest must not be moved.
    std::vector<std::string> not_carried;
};

/// Fails if something is not known here, by name.
[[nodiscard]] Status check_known(std::span<const std::string> not_carried);

/// All sections of a stream but RAM.
[[nodiscard]] Result<std::vector<state::Device>> devices_of(const QemuState& state,
                                                            const ByteSource& source);

/// A machine of QEMU's (7.2 to 10.0, under TCG or KVM) as the neutral state.
[[nodiscard]] Result<ReadMachine> read_machine(std::span<const state::Device> sections);

struct WrittenMachine {
    std::vector<state::Device> sections; ///< as the QEMU loads them, in its order
    std::vector<std::string> changes;    ///< what is not as it was, for the guest's owner
};

/// The neutral state as the sections of the QEMU that is to load it. `layout` are those that this
/// very QEMU saves, with this machine, before its guest has run: their fields are filled, so that
/// nothing but the values comes from elsewhere. Fails if the guest's machine has what that one
/// lacks, or the other way round, by name.
[[nodiscard]] Result<WrittenMachine> write_machine(const state::MachineState& machine,
                                                   std::vector<state::Device> layout);

} // namespace drover::qemu
