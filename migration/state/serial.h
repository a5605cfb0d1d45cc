// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/state/fields.h"

namespace drover::state {

/// A serial port with nothing on its way: a PC16550D, by its data sheet's names. Kind "serial",
/// version 1.
struct Serial {
    static constexpr const char* kind = "serial";
    static constexpr uint32_t version = 1;

    uint32_t number = 0;      ///< of the port, from 0
    uint16_t divisor = 0;     ///< of 115,200 baud
    uint8_t received = 0;     ///< RBR: the byte that came last
    uint8_t interrupts = 0;   ///< IER: that are enabled
    uint8_t interrupt_id = 0; ///< IIR
    uint8_t line_control = 0;
    uint8_t modem_control = 0;
    uint8_t line_status = 0;
    uint8_t modem_status = 0;
    uint8_t scratch = 0;
    uint8_t fifo_control = 0;
};

template <class Visitor, PartOrConst<Serial> Self> void describe(Visitor& visitor, Self& it)
{
    visitor.field({"number", "", "ours"}, it.number);
    visitor.field({"divisor", "", "PC16550D 8.3"}, it.divisor);
    visitor.field({"received", "", "PC16550D 8.1"}, it.received);
    visitor.field({"interrupts", "", "PC16550D 8.7"}, it.interrupts);
    visitor.field({"interrupt-id", "", "PC16550D 8.6"}, it.interrupt_id);
    visitor.field({"line-control", "", "PC16550D 8.1"}, it.line_control);
    visitor.field({"modem-control", "", "PC16550D 8.8"}, it.modem_control);
    visitor.field({"line-status", "", "PC16550D 8.4"}, it.line_status);
    visitor.field({"modem-status", "", "PC16550D 8.9"}, it.modem_status);
    visitor.field({"scratch", "", "PC16550D 8.10"}, it.scratch);
    visitor.field({"fifo-control", "", "PC16550D 8.5"}, it.fifo_control);
}

} // namespace drover::state
