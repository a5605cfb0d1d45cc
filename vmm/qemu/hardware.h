// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "monitor/qmp_client.h"

#include <functional>

namespace drover::qemu {

/// How a guest's devices are made, so that a hypervisor of another kind can make them without being
/// told by hand. Put into the description of a machine, whose "devices" it has already:
///   hardware: object of device name → {type, addr: slot × 8 + function, properties: object of
///             scalars by QEMU's names, disk: {file, format, read_only} where it has one};
///   drives: object of name → {file, format, read_only}, of those that are in no such device, or
///           {} of one that is empty;
///   serial_ports: how many ISA serial ports there are;
///   max_ram_below_4g: bytes; more RAM than that does not lie in one piece;
///   ballooned: bytes of its RAM that the guest has given back, if it has a balloon;
///   name: the guest's, if it has one.
/// Only of devices whose form is known here, and at most 64 of them. What QEMU does not tell is
/// left out. `done` is not called when `qmp` is destroyed before.
void ask_hardware(QmpClient& qmp, Json description, std::function<void(Json)> done);

/// Puts what query-block answers into a description that has its "hardware".
void add_disks(Json& description, const Json& blocks);

} // namespace drover::qemu
