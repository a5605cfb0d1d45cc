// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/state/device.h"
#include "migration/state/vcpu.h"

namespace drover::qemu {

/// How fast the time-stamp counter ticks; KVM's vCPUs tell it. The clocks have it (kHz).
constexpr const char* tsc_khz_subsection = "[cpu/tsc_khz]";
constexpr const char* tsc_khz_field = "[cpu/tsc_khz]/env.tsc_khz";

/// A section "cpu" of QEMU's (7.2 to 10.0, under TCG or KVM) as a vCPU. What it holds and the
/// neutral state does not is added to `told`, with the reason why that is safe, or that it is not
/// known here. Under TCG the time-stamp counter is 0 here: the clocks have it.
[[nodiscard]] Result<state::Vcpu> read_vcpu(const state::Device& device,
                                            std::vector<std::string>& told);

/// Into a section of the QEMU that is to load it.
[[nodiscard]] Status write_vcpu(const state::Vcpu& vcpu, state::Device& device);

} // namespace drover::qemu
