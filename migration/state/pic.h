// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/state/fields.h"

namespace drover::state {

/// One 8259A.
struct PicChip {
    uint8_t last_lines = 0; ///< of its inputs, to see an edge
    uint8_t requested = 0;
    uint8_t masked = 0;
    uint8_t in_service = 0;
    uint8_t vector_base = 0;
    uint8_t priority_add = 0; ///< the input of the highest priority
    uint8_t init_state = 0;   ///< 0: initialised; else the command word that it waits for, less 1
    bool read_in_service = false;
    bool poll = false;
    bool special_mask = false;
    bool auto_eoi = false;
    bool rotate_on_auto_eoi = false;
    bool special_fully_nested = false;
    bool expects_icw4 = false;
    bool single = false;
    uint8_t level_triggered = 0; ///< ELCR: a bit an input
};

template <class Visitor, PartOrConst<PicChip> Self> void describe(Visitor& visitor, Self& it)
{
    visitor.field({"last-lines", "", "8259A"}, it.last_lines);
    visitor.field({"requested", "", "8259A"}, it.requested);
    visitor.field({"masked", "", "8259A"}, it.masked);
    visitor.field({"in-service", "", "8259A"}, it.in_service);
    visitor.field({"vector-base", "", "8259A"}, it.vector_base);
    visitor.field({"priority-add", "", "8259A"}, it.priority_add);
    visitor.field({"init-state", "", "8259A"}, it.init_state);
    visitor.field({"read-in-service", "", "8259A"}, it.read_in_service);
    visitor.field({"poll", "", "8259A"}, it.poll);
    visitor.field({"special-mask", "", "8259A"}, it.special_mask);
    visitor.field({"auto-eoi", "", "8259A"}, it.auto_eoi);
    visitor.field({"rotate-on-auto-eoi", "", "8259A"}, it.rotate_on_auto_eoi);
    visitor.field({"special-fully-nested", "", "8259A"}, it.special_fully_nested);
    visitor.field({"expects-icw4", "", "8259A"}, it.expects_icw4);
    visitor.field({"single", "", "8259A"}, it.single);
    visitor.field({"level-triggered", "", "82371AB 4.2.5"}, it.level_triggered);
}

/// Master and slave. Kind "pic", version 1.
struct Pic {
    static constexpr const char* kind = "pic";
    static constexpr uint32_t version = 1;

    std::array<PicChip, 2> chips = {};
};

template <class Visitor, PartOrConst<Pic> Self> void describe(Visitor& visitor, Self& it)
{
    visitor.field({"chips", "", "82371AB 4.2.2"}, it.chips);
}

} // namespace drover::state
