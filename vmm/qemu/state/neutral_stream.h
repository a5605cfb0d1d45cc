// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/state/machine_state.h"
#include "util/byte_source.h"

namespace drover::qemu {

/// What a running QEMU saves of itself without its shared RAM, as parts of the neutral state: its
/// devices, and the memory that is not the guest's RAM. Fails if the stream has a field of which
/// nobody knows whether the guest can do without, by name.
[[nodiscard]] Result<std::vector<std::byte>> neutral_of_stream(const ByteSource& stream);

/// The stream that brings the QEMU that saved `blank`, before it has run, into that state. What is
/// not as it was is added to `changes`.
[[nodiscard]] Result<std::vector<std::byte>> stream_of_neutral(std::span<const std::byte> parts,
                                                               const ByteSource& blank,
                                                               std::vector<std::string>& changes);

} // namespace drover::qemu
