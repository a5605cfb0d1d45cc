// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "vmm/xen/state/little_cursor.h"
#include "vmm/xen/state/xen_state.h"

namespace drover::xen {

/// libxc's part of the file, from its header to its END record.
[[nodiscard]] Status read_libxc_stream(LittleCursor& cursor, XenState& state);

constexpr uint64_t largest_xen_record = 128U << 20; ///< bytes: libxc's own bound

/// What stands before each record of libxl's and libxc's.
struct RecordHeader {
    uint32_t type = 0;
    uint32_t length = 0;
};
[[nodiscard]] RecordHeader take_record_header(LittleCursor& cursor);
/// With what fills it up to the next multiple of 8.
[[nodiscard]] std::vector<std::byte> take_record_body(LittleCursor& cursor, uint32_t length);
[[nodiscard]] std::unexpected<Error> record_is_cut_off();

} // namespace drover::xen
