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

Json JsonMaker::hex(std::span<const uint8_t> bytes)
{
    static constexpr std::string_view digits = "0123456789abcdef";
    std::string text;
    text.reserve(2 * bytes.size());
    for (const uint8_t byte : bytes) {
        text += digits[byte >> 4];
        text += digits[byte & 15];
    }
    return text;
}

} // namespace drover::state
