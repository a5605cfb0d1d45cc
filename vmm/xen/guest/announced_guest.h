// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "monitor/json.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

/// A guest of QEMU's that is to come to this Xen host, as its source describes it
/// (Machine::describe()). Nobody vouches for that: everything here is checked, and bounded.
namespace drover::xen {

/// A device that the domain's device model can be told to make.
struct AnnouncedDevice {
    std::string name; ///< its id, or "unnamed device[0]" of one that has none
    std::string type; ///< of a kind that is known here
    unsigned slot = 0;
    unsigned function = 0;
    std::vector<std::string> properties; ///< "queue-size=256": known ones, of values in bounds
    std::optional<std::string> disk;     ///< the path of its image, which is raw
    bool read_only = false;
    std::string network; ///< the id of its back end; empty: it has none
};

/// A drive of the machine's own IDE controller.
struct AnnouncedDrive {
    unsigned index = 0; ///< 0 … 3
    bool is_cd = false;
    std::optional<std::string> disk; ///< the path of its image, which is raw; nothing: it is empty
    bool read_only = false;
};

struct AnnouncedGuest {
    std::string name;
    std::string uuid; ///< empty: none
    size_t vcpus = 1;
    uint64_t memory = 0; ///< bytes
    size_t serial_ports = 0;
    std::vector<AnnouncedDevice> devices; ///< in the order of their names
    std::vector<AnnouncedDrive> drives;
};

/// What of a machine has no form on Xen, each in words that name the device and the remedy; empty:
/// it can go there, as far as its devices are concerned. `machine` is Machine::describe()'s.
[[nodiscard]] std::vector<std::string> not_for_xen(const Json& machine);

/// All that a configuration for it takes; `memory` in bytes. Fails, naming what it is about, where
/// the source does not tell enough or tells what cannot be.
[[nodiscard]] Result<AnnouncedGuest> announced_guest(const Json& machine, uint64_t memory);

} // namespace drover::xen
