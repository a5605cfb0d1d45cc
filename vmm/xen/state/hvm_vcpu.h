// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/state/lapic.h"
#include "migration/state/vcpu.h"
#include "vmm/xen/state/hvm_cpu_layout.h"
#include "vmm/xen/state/xen_fit.h"

namespace drover::xen {

/// Which number a guest's vCPUs have: those that have an interrupt controller.
[[nodiscard]] std::vector<uint16_t> vcpu_numbers(const HvmContext& context);

/// From all records of this vCPU but the interrupt controller's registers. One that waits for its
/// start has no CPU record.
[[nodiscard]] Result<state::Vcpu> read_vcpu(const HvmContext& context, uint16_t number);

/// Of Xen 4.22, too, which is longer.
[[nodiscard]] Result<HvmLapic> decode_lapic(const HvmRecord& record);

/// `born_hz`: how fast the guest found its timer to count.
[[nodiscard]] Result<state::Lapic> read_lapic(const HvmContext& context, uint16_t number,
                                              uint64_t born_hz);

/// Adds the records that read_vcpu() takes, what has no place there is told.
void write_vcpu(const state::Vcpu& vcpu, bool born_on_xen, HvmContext& context);
void write_lapic(const state::Lapic& lapic, uint64_t tsc_deadline, HvmContext& context);
void judge_vcpu(const state::Vcpu& vcpu, XenFit& fit);
void judge_lapic(const state::Lapic& lapic, XenFit& fit);

[[nodiscard]] uint64_t msr_of(const state::Vcpu& vcpu, uint32_t index, uint64_t otherwise = 0);

} // namespace drover::xen
