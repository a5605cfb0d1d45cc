// SPDX-License-Identifier: GPL-2.0-or-later
// A file of `xl save` that nobody vouches for: what is read without an error must lie within it,
// and what becomes of it in the neutral state can be printed, judged, and written for Xen again.
#include "tests/fuzz/driver.h"
#include "tests/unit/xen/xen_bytes.h"
#include "vmm/xen/state/xen_machine.h"

#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size)
{
    using namespace drover;
    const MemoryBytes source(std::as_bytes(std::span(data, size)));
    const auto state = xen::read_xen_state(source);
    if (!state)
        return 0;
    const xen::XenPages pages(*state, source);
    std::array<std::byte, state::frame_size> page = {};
    for (const state::FrameRange& range : pages.ranges())
        if (!pages.read(range.first, page) || !pages.read(range.first + range.count - 1, page))
            abort();
    const auto read = xen::read_machine(*state);
    if (!read)
        return 0;
    (void)dump_json(state::to_json(read->machine));
    const auto written = xen::write_machine(read->machine);
    if (written && !xen::split_hvm_context(xen::join_hvm_context(written->hvm)))
        abort();
    return 0;
}

std::vector<std::string> drover::fuzz::seeds()
{
    using namespace drover::testing;
    return {small_xen_file(), xen_file(legal_context(2, 2), small_model(false))};
}
