// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/state/fields.h"

namespace drover::state {

/// The MC146818A and the battery-backed memory beside it. Kind "rtc", version 1.
struct Rtc {
    static constexpr const char* kind = "rtc";
    static constexpr uint32_t version = 1;

    std::array<uint8_t, 14> registers = {}; ///< time, alarm and A … D
    uint8_t index = 0;                      ///< the register that is looked at
    std::vector<uint8_t> memory;            ///< from register 14 on: 114 bytes, or more
    /// The guest's clock less the real one, when the guest was paused. It is a clock of whole
    /// seconds with a phase of its own.
    int64_t ahead = 0;
};

template <class Visitor, PartOrConst<Rtc> Self> void describe(Visitor& visitor, Self& it)
{
    visitor.field({"registers", "", "MC146818A"}, it.registers);
    visitor.field({"index", "", "MC146818A"}, it.index);
    visitor.field({"memory", "", "MC146818A"}, it.memory);
    visitor.field({"ahead", "ns", "ours"}, it.ahead);
}

} // namespace drover::state
