// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/simulate/planner.h"

#include <array>
#include <deque>

namespace drover::balancer {

/// What the small planners share: loads as measured, with what is in flight and ordered moved
/// already, and the limits that the engine will hold them to.
class LoadTable {
public:
    explicit LoadTable(const World& world);

    [[nodiscard]] double part(HostId host, Resource r) const ///< of its capacity
    {
        const double capacity = world_.fleet.host(host).capacity[r];
        return capacity > 0 ? used_[host][r] / capacity : 0;
    }
    [[nodiscard]] double part_with(HostId host, VmId vm, Resource r) const;
    /// Below the thresholds in everything, with the VM.
    [[nodiscard]] bool fits(HostId host, VmId vm) const;
    [[nodiscard]] bool fits_memory(HostId host, VmId vm) const;
    [[nodiscard]] bool above(HostId host) const;
    [[nodiscard]] bool may_leave(VmId vm) const;
    [[nodiscard]] bool may_receive(HostId host, VmId vm) const;
    [[nodiscard]] bool can_send(HostId host) const;
    void order(VmId vm, HostId to, std::vector<Order>& orders);
    [[nodiscard]] const VmSample& vm(VmId vm) const { return world_.vms[vm]; }
    [[nodiscard]] const World& world() const { return world_; }

private:
    void shift(VmId vm, HostId from, HostId to);
    const World& world_;
    std::vector<Amount> used_;
    std::vector<unsigned> in_, out_;
    std::vector<bool> moving_;
};

/// Above a threshold in k of the last n samples; with an AR(1) forecast, if wanted, that says the
/// next one will be too.
class Persistence {
public:
    static constexpr unsigned k = 3;
    static constexpr unsigned n = 5;
    void add(const World& world);
    [[nodiscard]] bool is_hot(const World& world, HostId host, bool by_forecast) const;

private:
    static constexpr size_t window = 30;
    struct Series {
        std::array<float, window> values{};
        size_t count = 0;
        size_t next = 0;
    };
    [[nodiscard]] double next_value(const Series& series) const;
    std::vector<std::array<uint8_t, resource_count>> bits_;
    std::vector<std::array<Series, resource_count>> series_;
};

} // namespace drover::balancer
