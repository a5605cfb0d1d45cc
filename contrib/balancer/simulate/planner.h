// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/judge/snapshot.h"

#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace drover::balancer {

/// What every planner is shown each round; by HostId and VmId.
struct World {
    const Fleet& fleet;
    double now = 0;
    std::span<const HostSample> hosts;
    std::span<const VmSample> vms;
    const std::vector<InFlight>& in_flight;
    const std::vector<PastMove>& recent;
};

struct Order {
    VmId vm = no_vm;
    HostId to = no_host;
    std::vector<uint64_t> resolves;
    std::vector<VmId> after; ///< begins when these VMs' moves have ended
};

/// A rule to balance by. All get the same samples at the same times; the engine holds all to the
/// same limits (migrations at a time, groups, needs, pinned, apart).
class Planner {
public:
    virtual ~Planner() = default;
    [[nodiscard]] virtual std::string_view name() const = 0;
    /// Called once a step.
    [[nodiscard]] virtual std::vector<Order> round(const World& world) = 0;
    /// Of a planner that can tell: the part of its plans that were the best possible, and by how
    /// much the worst missed it.
    [[nodiscard]] virtual std::optional<double> optimal_pct() const { return std::nullopt; }
    [[nodiscard]] virtual std::optional<double> worst_gap_pct() const { return std::nullopt; }
};

/// "drover", "sandpiper", "threshold-first-fit", "watcher-stddev", "proxmox-imbalance", "none";
/// nothing for another name.
[[nodiscard]] std::unique_ptr<Planner> make_planner(std::string_view name, const Fleet& fleet);
[[nodiscard]] std::span<const std::string_view> planner_names();

} // namespace drover::balancer
