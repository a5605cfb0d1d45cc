// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/state/fields.h"

namespace drover::state {

/// Memory of a device that is not the guest's RAM and travels with the devices: a graphics card's,
/// firmware's. Kind "memory", version 1.
struct Memory {
    static constexpr const char* kind = "memory";
    static constexpr uint32_t version = 1;

    std::string name;            ///< QEMU's, of the block
    uint64_t size = 0;           ///< of all of it
    std::vector<uint64_t> pages; ///< ascending: those that do not hold zeroes, by number
    std::vector<uint8_t> bytes;  ///< what they hold, 4,096 each
};

template <class Visitor, PartOrConst<Memory> Self> void describe(Visitor& visitor, Self& it)
{
    visitor.field({"name", "", "QEMU"}, it.name);
    visitor.field({"size", "bytes", "ours"}, it.size);
    visitor.field({"pages", "", "ours"}, it.pages);
    visitor.field({"bytes", "", "ours"}, it.bytes);
}

} // namespace drover::state
