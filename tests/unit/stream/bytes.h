// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/stream/messages.h"

#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>

namespace drover::stream {

/// "44 52 0f" → bytes; anything but hexadecimal digits separates nothing and is skipped.
inline Bytes hex(std::string_view text)
{
    constexpr std::string_view digits = "0123456789abcdef";
    Bytes bytes;
    size_t nibbles = 0;
    for (const char c : text) {
        const size_t value = digits.find(c);
        if (value == digits.npos)
            continue;
        if (nibbles++ % 2 == 0)
            bytes.push_back(static_cast<std::byte>(value << 4));
        else
            bytes.back() |= static_cast<std::byte>(value);
    }
    return bytes;
}

/// The same the other way, for readable failures: "44 52 0f".
inline std::string to_hex(std::span<const std::byte> bytes)
{
    constexpr std::string_view digits = "0123456789abcdef";
    std::string text;
    for (const std::byte byte : bytes) {
        text += text.empty() ? "" : " ";
        text += digits[std::to_integer<size_t>(byte) >> 4];
        text += digits[std::to_integer<size_t>(byte) & 15];
    }
    return text;
}

inline Bytes bytes_of(std::string_view text)
{
    const auto bytes = std::as_bytes(std::span(text));
    return {bytes.begin(), bytes.end()};
}

inline Bytes joined(std::initializer_list<std::span<const std::byte>> parts)
{
    Bytes all;
    for (const auto part : parts)
        for (const std::byte byte : part) // insert() makes GCC 12 see an overflow that is not there
            all.push_back(byte);
    return all;
}

inline Bytes with_bit_flipped(std::span<const std::byte> bytes, size_t bit)
{
    Bytes changed(bytes.begin(), bytes.end());
    changed[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
    return changed;
}

} // namespace drover::stream
