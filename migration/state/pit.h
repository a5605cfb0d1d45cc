// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/state/fields.h"

namespace drover::state {

/// One counter of the 8254.
struct PitChannel {
    uint32_t count = 0; ///< that it starts from: 1 … 65,536
    uint16_t latched_count = 0;
    uint8_t count_latched = 0;
    bool status_latched = false;
    uint8_t status = 0;
    uint8_t read_state = 0;
    uint8_t write_state = 0;
    uint8_t write_latch = 0;
    uint8_t access = 0; ///< 1 low byte, 2 high byte, 3 low then high
    uint8_t mode = 0;   ///< 0 … 5
    bool bcd = false;
    bool gate = false;
    int64_t since_load = -1; ///< since the count was loaded; -1: not known
};

template <class Visitor, PartOrConst<PitChannel> Self> void describe(Visitor& visitor, Self& it)
{
    visitor.field({"count", "counts", "8254"}, it.count);
    visitor.field({"latched-count", "counts", "8254"}, it.latched_count);
    visitor.field({"count-latched", "", "8254"}, it.count_latched);
    visitor.field({"status-latched", "", "8254"}, it.status_latched);
    visitor.field({"status", "", "8254"}, it.status);
    visitor.field({"read-state", "", "8254"}, it.read_state);
    visitor.field({"write-state", "", "8254"}, it.write_state);
    visitor.field({"write-latch", "", "8254"}, it.write_latch);
    visitor.field({"access", "", "8254"}, it.access);
    visitor.field({"mode", "", "8254"}, it.mode);
    visitor.field({"bcd", "", "8254"}, it.bcd);
    visitor.field({"gate", "", "8254"}, it.gate);
    visitor.field({"since-load", "ns", "ours"}, it.since_load);
}

/// The timer of 1,193,182 Hz, and the speaker that hangs on it. Kind "pit", version 1.
struct Pit {
    static constexpr const char* kind = "pit";
    static constexpr uint32_t version = 1;

    std::array<PitChannel, 3> channels = {};
    bool speaker_on = false;
};

template <class Visitor, PartOrConst<Pit> Self> void describe(Visitor& visitor, Self& it)
{
    visitor.field({"channels", "", "82371AB 4.2.3"}, it.channels);
    visitor.field({"speaker-on", "", "82371AB 4.2.6.1"}, it.speaker_on);
}

} // namespace drover::state
