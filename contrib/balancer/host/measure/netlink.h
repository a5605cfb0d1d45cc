// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "util/fd.h"
#include "util/result.h"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

/// As much of netlink as it takes to ask the kernel for lists. Lengths in messages are checked:
/// what does not fit ends the walk.
namespace drover::balancer::measure {

using Bytes = std::span<const std::byte>;

/// The first bytes of `bytes` as a T, the rest zero where the kernel's struct is shorter (older).
template <typename T> T first_as(Bytes bytes)
{
    T value = {};
    std::memcpy(&value, bytes.data(), std::min(bytes.size(), sizeof value));
    return value;
}

/// As first_as(), or nothing if there are fewer than `least` bytes.
template <typename T> std::optional<T> whole_as(Bytes bytes, size_t least = sizeof(T))
{
    return bytes.size() < least ? std::nullopt : std::optional(first_as<T>(bytes));
}

/// Calls `each` with type and content of each attribute.
void for_each_attribute(Bytes attributes,
                        const std::function<void(unsigned type, Bytes content)>& each);

/// Text up to its zero byte.
[[nodiscard]] std::string_view text_of(Bytes content);

/// Calls `each` with type and content of each message of what one read brought. True once the
/// message that ends the list was there; an error message of the kernel's is an error.
[[nodiscard]] Result<bool>
for_each_message(Bytes received, const std::function<void(unsigned type, Bytes content)>& each);

/// A netlink socket for requests that the kernel answers at once. One thread at a time.
class NetlinkSocket {
public:
    /// `protocol`: NETLINK_ROUTE, ... The socket sees the network namespace of the thread that asks
    /// first.
    explicit NetlinkSocket(int protocol) : protocol_(protocol) {}

    /// Asks for the list (or, without `dump`, the one object) that `request` describes, and calls
    /// `each` for each message. On an error the next call begins with a new socket.
    [[nodiscard]] Status ask(unsigned type, Bytes request, bool dump,
                             const std::function<void(unsigned type, Bytes content)>& each);

private:
    [[nodiscard]] Status open();
    [[nodiscard]] Status send(unsigned type, Bytes request, bool dump);

    int protocol_;
    UniqueFd fd_;
    uint32_t sequence_ = 0;
    std::vector<std::byte> buffer_;
};

} // namespace drover::balancer::measure
