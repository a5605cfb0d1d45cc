// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "util/result.h"

#include <string>

namespace drover {

/// How far a migration has come, for the commands that users send to QEMU meanwhile.
enum class GuestPhase {
    Free,       ///< none is under way
    Moving,     ///< the machine is described to the other side, and copied: it must stay as it is
    HandedOver, ///< from the last look at what was written to the end: nothing may write guest RAM
};

/// Whether a QMP command, or one of HMP by its first word, may be passed on to QEMU; the error is
/// in QEMU's words. QEMU cannot refuse by itself: it does not know of the migration before the
/// guest is paused.
///
/// The rules. While Moving, nothing that adds to the machine or takes from it passes. Once
/// HandedOver only what is listed passes: a command that nobody has thought of may write RAM that
/// was sent already, or is being served to the guest that runs at its destination.
[[nodiscard]] Status may_pass(const std::string& command, GuestPhase phase);
[[nodiscard]] Status may_pass_hmp(const std::string& word, GuestPhase phase);

} // namespace drover
