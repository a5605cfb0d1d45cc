// SPDX-License-Identifier: GPL-2.0-or-later
// QEMU's migration stream and its description of itself, from a file that nobody vouches for: what
// is read without an error must lie within it, and can be printed.
#include "tests/fuzz/driver.h"
#include "tests/unit/vmm/state_bytes.h"
#include "vmm/qemu/state/qemu_state.h"

#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size)
{
    const drover::MemoryBytes source(std::as_bytes(std::span(data, size)));
    const auto state = drover::qemu::read_qemu_state(source);
    if (!state)
        return 0;
    for (const auto& section : state->sections)
        if (section.state.at > size || section.state.size > size - section.state.at)
            abort();
    const auto json = drover::qemu::to_json(*state, source);
    if (json)
        (void)drover::dump_json(*json);
    return 0;
}

std::vector<std::string> drover::fuzz::seeds()
{
    return {drover::testing::small_state().text()};
}
