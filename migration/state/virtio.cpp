// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/state/virtio.h"

namespace drover::state {

std::string_view to_string(VirtioTransport transport)
{
    return transport == VirtioTransport::Pci ? "pci" : "mmio";
}

std::string_view to_string(VirtioKind kind)
{
    switch (kind) {
    case VirtioKind::Net: return "net";
    case VirtioKind::Block: return "block";
    case VirtioKind::Entropy: return "entropy";
    case VirtioKind::Balloon: return "balloon";
    }
    return "";
}

} // namespace drover::state
