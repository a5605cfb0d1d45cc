// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "vmm/xen/guest/announced_device.h"
#include "vmm/xen/guest/xl_cpuid.h"

/// A guest of QEMU's that is to come to this Xen host, as its source describes it
/// (Machine::describe()). Nobody vouches for that: everything here is checked, and bounded.
namespace drover::xen {

struct AnnouncedGuest {
    std::string name;
    std::string uuid; ///< empty: none
    size_t vcpus = 1;
    uint64_t memory = 0; ///< bytes
    uint64_t hole = 0;   ///< below 4 GiB, without RAM, MiB; 0: what domains have anyway
    size_t serial_ports = 0;
    RegisterBits hidden_features;         ///< of the CPU that domains have here
    std::vector<AnnouncedDevice> devices; ///< in the order of their names
    std::vector<AnnouncedDrive> drives;
};

/// The devices of a machine that cannot go from QEMU to Xen or from Xen to QEMU, each in words that
/// name it and the remedy. `machine` is Machine::describe()'s, with what ask_hardware() puts there.
[[nodiscard]] std::vector<std::string> without_neutral_form(const Json& machine);

/// The same, and what else of a machine has no form on Xen; empty: it can go there, as far as its
/// devices are concerned.
[[nodiscard]] std::vector<std::string> not_for_xen(const Json& machine);

/// All that a configuration for it takes; `memory` in bytes. Fails, naming what it is about, where
/// the source does not tell enough or tells what cannot be.
[[nodiscard]] Result<AnnouncedGuest> announced_guest(const Json& machine, uint64_t memory);

} // namespace drover::xen
