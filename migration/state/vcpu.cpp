// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/state/vcpu.h"

#include <cstdio>

namespace drover::state {

Json JsonMaker::hex(uint64_t value)
{
    char text[24];
    snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(value));
    return text;
}

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
