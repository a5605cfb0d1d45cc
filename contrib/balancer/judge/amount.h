// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace drover::balancer {

/// What a host has and a guest uses. Rx and Tx are seen from the host: what a guest receives from
/// outside, its host receives.
enum class Resource : uint8_t { Cpu, Memory, Rx, Tx };

constexpr size_t resource_count = 4;
constexpr std::array<Resource, resource_count> all_resources{Resource::Cpu, Resource::Memory,
                                                             Resource::Rx, Resource::Tx};

[[nodiscard]] constexpr std::string_view to_string(Resource resource)
{
    constexpr std::array<std::string_view, resource_count> names{"cpu", "memory", "rx", "tx"};
    return names[static_cast<size_t>(resource)];
}

/// So much of each resource: cores, bytes, bytes/s, bytes/s. In a HostSpec's thresholds and
/// reserves: parts of the capacity, 0 to 1.
struct Amount {
    std::array<double, resource_count> part{};

    [[nodiscard]] constexpr double& operator[](Resource r) { return part[static_cast<size_t>(r)]; }
    [[nodiscard]] constexpr double operator[](Resource r) const
    {
        return part[static_cast<size_t>(r)];
    }
    constexpr Amount& operator+=(const Amount& other)
    {
        for (size_t i = 0; i < resource_count; ++i)
            part[i] += other.part[i];
        return *this;
    }
    constexpr Amount& operator-=(const Amount& other)
    {
        for (size_t i = 0; i < resource_count; ++i)
            part[i] -= other.part[i];
        return *this;
    }
    friend constexpr Amount operator+(Amount a, const Amount& b) { return a += b; }
    friend constexpr Amount operator-(Amount a, const Amount& b) { return a -= b; }
    friend constexpr bool operator==(const Amount&, const Amount&) = default;

    [[nodiscard]] static constexpr Amount of(double cpu, double memory, double rx, double tx)
    {
        return Amount{{cpu, memory, rx, tx}};
    }
};

} // namespace drover::balancer
