// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "monitor/json.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

/// Devices as a source describes them, for whom nobody vouches: see announced_guest.h.
namespace drover::xen {

/// What a device needs of the host that makes it.
enum class BackEnd { Nothing, Disk, Network, Entropy };

/// A device that the domain's device model can be told to make.
struct AnnouncedDevice {
    std::string name; ///< its id, or "unnamed device[0]" of one that has none
    std::string type; ///< of a kind that is known here
    unsigned slot = 0;
    unsigned function = 0;
    std::vector<std::string> properties; ///< "queue-size=256": known ones, of values in bounds
    BackEnd back_end = BackEnd::Nothing;
    std::optional<std::string> disk; ///< the path of its image, which is raw
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

/// Whether the domain's device model can be told to make one.
[[nodiscard]] bool is_known_type(std::string_view type);

/// A device of a known type; `hardware` is what the source says of it.
[[nodiscard]] Result<AnnouncedDevice> read_device(const std::string& name, const std::string& type,
                                                  const Json& hardware);
/// A drive that is in no such device; `medium` is empty if it is.
[[nodiscard]] Result<AnnouncedDrive> read_drive(const std::string& name, const Json& medium);

// What a peer's words may be.

/// A letter first, then letters, digits and what is `besides`; 64 at most.
[[nodiscard]] bool is_name(std::string_view text, std::string_view besides);
/// Text of a peer's, for people: short, and of one line.
[[nodiscard]] std::string quoted(std::string text);
/// A member that is an object, or an empty one.
[[nodiscard]] const Json& object_in(const Json& object, const char* name);

} // namespace drover::xen
