// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/state/vcpu.h"
#include "vmm/qemu/state/device_fields.h"

namespace drover::qemu {

/// The value of a vCPU's MSR; 0 if the state does not have it.
[[nodiscard]] uint64_t msr_of(const state::Vcpu& vcpu, uint32_t index);

/// All MSRs that a section "cpu" holds.
void read_msrs(FieldReader& fields, state::Vcpu& vcpu);

/// Of the MSRs that are kept in a subsection, those that are needed and not there yet. Each of them
/// has version 1 and one field of 64 bits.
void add_msr_subsections(state::Device& device, const state::Vcpu& vcpu);
void write_msrs(FieldWriter& fields, const state::Vcpu& vcpu);

} // namespace drover::qemu
