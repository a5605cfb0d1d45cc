// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "vmm/xen/state/hvm_records.h"

namespace drover::xen {

/// Bytes of the hypervisor's records that the neutral state does not take from there, and why that
/// is safe.
struct UntakenBytes {
    HvmType type;
    size_t at;
    size_t size;
    const char* field;
    const char* reason;
};
[[nodiscard]] std::vector<UntakenBytes> untaken_bytes();

/// Those of the records that there are, and records that are not known here.
void tell_untaken(const HvmContext& context, std::vector<std::string>& told);

} // namespace drover::xen
