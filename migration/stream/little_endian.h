// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <concepts>
#include <cstddef>
#include <span>
#include <vector>

/// The stream's integers: little-endian on the wire, whatever the host is. Compilers turn the loops
/// into single moves.
namespace drover::stream {

template <std::unsigned_integral T> void store_le(T value, std::byte* at)
{
    for (size_t i = 0; i < sizeof(T); ++i)
        at[i] = static_cast<std::byte>(value >> (8 * i));
}

template <std::unsigned_integral T> [[nodiscard]] T load_le(const std::byte* at)
{
    T value = 0;
    for (size_t i = 0; i < sizeof(T); ++i)
        value = static_cast<T>(value | static_cast<T>(std::to_integer<T>(at[i]) << (8 * i)));
    return value;
}

template <std::unsigned_integral T> void append_le(std::vector<std::byte>& out, T value)
{
    std::byte bytes[sizeof(T)];
    store_le(value, bytes);
    out.insert(out.end(), bytes, bytes + sizeof(T));
}

/// Takes integers from the front of a payload whose size was checked before.
class LeReader {
public:
    explicit LeReader(std::span<const std::byte> bytes) : rest_(bytes) {}

    template <std::unsigned_integral T> [[nodiscard]] T take()
    {
        const T value = load_le<T>(rest_.data());
        rest_ = rest_.subspan(sizeof(T));
        return value;
    }

    /// Whether the next `count` bytes, which are taken too, are all zero.
    [[nodiscard]] bool take_zeros(size_t count)
    {
        bool zeros = true;
        for (size_t i = 0; i < count; ++i)
            zeros = zeros && rest_[i] == std::byte{0};
        rest_ = rest_.subspan(count);
        return zeros;
    }

    [[nodiscard]] std::span<const std::byte> rest() const { return rest_; }

private:
    std::span<const std::byte> rest_;
};

} // namespace drover::stream
