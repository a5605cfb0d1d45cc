// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/state/vcpu.h"

namespace drover::state {

std::string_view to_string(RunState state)
{
    switch (state) {
    case RunState::Running: return "running";
    case RunState::Halted: return "halted";
    case RunState::WaitsForInit: return "waits-for-init";
    case RunState::WaitsForSipi: return "waits-for-sipi";
    }
    return "unknown";
}

} // namespace drover::state
