// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/session/compatibility.h"

namespace drover {

/// What of a guest cannot be translated, or will not be as it was, as far as it shows in the two
/// descriptions: of machines that do not understand each other's own state. Besides what
/// check_machines() looks at:
///   accelerator: "kvm", "tcg", "xen";
///   hpet: whether the guest has one; hpet_counts: whether it is on;
///   pv_drivers, viridian: whether a guest on Xen uses Xen's or Hyper-V's interface;
///   high_pins: how many pins of Xen's I/O APIC from the 24th on a guest has unmasked;
///   tsc_khz: how fast its time-stamp counter counts, 0: not known;
///   uncarried: list of what a guest on Xen has that has no neutral form, in words with the remedy.
void judge_translation(const Json& source, const Json& destination, Findings& found);

} // namespace drover
