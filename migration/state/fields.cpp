// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/state/fields.h"

#include <cstdio>

namespace drover::state {

Json JsonMaker::hex(uint64_t value)
{
    char text[24];
    snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(value));
    return text;
}

} // namespace drover::state
