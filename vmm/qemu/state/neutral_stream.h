// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/state/machine_state.h"
#include "util/byte_source.h"
#include "vmm/qemu/state/qemu_state.h"

namespace drover::qemu {

/// What a running QEMU saves of itself without its shared RAM, as parts of the neutral state: its
/// devices, and the memory that is not the guest's RAM. Fails if the stream has a field of which
/// nobody knows whether the guest can do without, by name.
[[nodiscard]] Result<std::vector<std::byte>> neutral_of_stream(const ByteSource& stream);

/// How a QEMU wants what it loads, learnt before any guest has to stand still for it.
struct LoadForm {
    std::vector<std::byte> bytes; ///< the stream that it saved before its guest had run
    QemuState state;              ///< of that stream
    std::vector<state::Device> sections;
};
[[nodiscard]] Result<LoadForm> read_load_form(const ByteSource& blank);

/// The stream that brings the QEMU of that form, before it has run, into that state. The form is
/// used up. What is not as it was is added to `changes`.
[[nodiscard]] Result<std::vector<std::byte>> stream_of_neutral(std::span<const std::byte> parts,
                                                               LoadForm&& form,
                                                               std::vector<std::string>& changes);

} // namespace drover::qemu
