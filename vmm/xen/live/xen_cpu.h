// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "monitor/json.h"

#include <cstdint>
#include <optional>
#include <span>
#include <string>

namespace drover::xen {

/// One leaf of a CPU as Xen tells of it; without subleaves `subleaf` is ~0.
struct CpuidLeaf {
    uint32_t leaf = 0;
    uint32_t subleaf = 0;
    uint32_t eax = 0;
    uint32_t ebx = 0;
    uint32_t ecx = 0;
    uint32_t edx = 0;
};

/// The registers that say what a CPU has, as Machine::describe() names them: "CPUID.7.0:EBX".
[[nodiscard]] Json feature_registers(std::span<const CpuidLeaf> leaves);

/// What CPU a host of Xen's gives its guests, in the form of vmm/qemu/cpu_description.h, for a
/// baseline of several hosts: accelerator "xen", no models, `registers` beside.
[[nodiscard]] Json cpu_description(std::span<const CpuidLeaf> leaves, const std::string& version);
/// The same of this host, for a guest whose configuration says nothing of it.
[[nodiscard]] Result<Json> describe_host_cpu();

/// Which CPU Xen gives a guest: that of a domain, or without one what a new domain gets by default.
/// Xen must be callable from here.
[[nodiscard]] Result<Json> cpu_features(std::optional<uint32_t> domain);
/// The most that this host can give a domain, if its configuration asks for it.
[[nodiscard]] Result<Json> most_cpu_features();

} // namespace drover::xen
