// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/judge/fleet.h"
#include "util/result.h"

#include <memory>
#include <string>
#include <vector>

namespace drover::balancer {

/// What a guest wants at a moment, whether or not its host can give it.
struct Demand {
    Amount wanted;
    double dirty_rate = 0;
};

/// The guests' demands over time. Depends on nothing that a planner does.
class LoadModel {
public:
    virtual ~LoadModel() = default;
    /// Called with times that do not go back, steps of `seconds`; `demand` is by VmId.
    virtual void step(double time, double seconds, std::vector<Demand>& demand) = 0;
};

/// A fleet and its loads, made anew for each planner.
struct Scenario {
    Fleet fleet;
    std::unique_ptr<LoadModel> loads;
};

struct GeneratorOptions {
    size_t hosts = 100;
    size_t vms = 1000;
    uint64_t seed = 1;
};

/// Three sizes of hosts, VMs of heavy-tailed sizes in applications whose VMs rise and fall
/// together: web servers that follow the day, steady ones, spiky ones, batch jobs, climbers,
/// streams with promised bandwidth, leaking memory (docs/balancer.md).
[[nodiscard]] Scenario generate_scenario(const GeneratorOptions& options);

/// A described fleet; the errors name the file and the line.
[[nodiscard]] Result<Scenario> read_scenario(const std::string& path);

} // namespace drover::balancer
