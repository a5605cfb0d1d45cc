// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/judge/exact.h"
#include "contrib/balancer/judge/observer.h"
#include "contrib/balancer/judge/plan.h"
#include "contrib/balancer/simulate/rival_planners.h"

#include <algorithm>

namespace drover::balancer {

namespace {

constexpr size_t few_hosts = 8;
constexpr size_t few_vms = 30;

/// The real thing: the Observer that watches fleets, and make_plan().
class DroverPlanner final : public Planner {
public:
    explicit DroverPlanner(const Fleet& fleet) : observer_(fleet) {}

    [[nodiscard]] std::string_view name() const override { return "drover"; }

    [[nodiscard]] std::vector<Order> round(const World& world) override
    {
        for (HostId id = 0; id < world.hosts.size(); ++id)
            observer_.see_host(id, world.hosts[id]);
        for (VmId id = 0; id < world.vms.size(); ++id)
            observer_.see_vm(id, world.vms[id]);
        observer_.judge(world.now);
        if (observer_.hotspots().empty())
            return {};
        observer_.fill(snapshot_, world.now);
        snapshot_.in_flight = world.in_flight;
        snapshot_.recent = world.recent;
        const Plan plan = make_plan(snapshot_);
        if (world.hosts.size() <= few_hosts && world.vms.size() <= few_vms)
            hold_against_exact(plan);
        std::vector<Order> orders;
        for (const Move& move : plan.moves) {
            Order order{move.vm, move.to, move.resolves, {}};
            for (const uint32_t before : move.after)
                order.after.push_back(plan.moves[before - 1].vm);
            orders.push_back(std::move(order));
        }
        return orders;
    }

    [[nodiscard]] std::optional<double> optimal_pct() const override
    {
        if (compared_ == 0)
            return std::nullopt;
        return 100.0 * double(optimal_) / double(compared_);
    }

    [[nodiscard]] std::optional<double> worst_gap_pct() const override
    {
        return compared_ == 0 ? std::nullopt : std::optional(worst_gap_);
    }

private:
    /// Where there was something to decide. What both leave and cost, in seconds, is compared.
    void hold_against_exact(const Plan& plan)
    {
        const Outcome ours = judge_moves(snapshot_, plan.moves);
        const ExactResult best = solve_exactly(Scene(snapshot_), {.known = ours.score()});
        if (!best.complete || (plan.moves.empty() && best.steps.empty()))
            return;
        ++compared_;
        if (best.score >= ours.score() - 1e-3)
            ++optimal_;
        const double rest = std::max(plan.heat_before + best.score, 1.0);
        worst_gap_ = std::max(worst_gap_, 100 * (ours.score() - best.score) / rest);
    }

    Observer observer_;
    Snapshot snapshot_;
    size_t compared_ = 0;
    size_t optimal_ = 0;
    double worst_gap_ = 0;
};

class NoPlanner final : public Planner {
public:
    [[nodiscard]] std::string_view name() const override { return "none"; }
    [[nodiscard]] std::vector<Order> round(const World&) override { return {}; }
};

} // namespace

std::unique_ptr<Planner> make_drover_planner(const Fleet& fleet)
{
    return std::make_unique<DroverPlanner>(fleet);
}

std::span<const std::string_view> planner_names()
{
    static constexpr std::array<std::string_view, 6> names{
        "drover",         "sandpiper",         "threshold-first-fit",
        "watcher-stddev", "proxmox-imbalance", "none"};
    return names;
}

std::unique_ptr<Planner> make_planner(std::string_view name, const Fleet& fleet)
{
    if (name == "drover")
        return make_drover_planner(fleet);
    if (name == "sandpiper")
        return make_sandpiper();
    if (name == "threshold-first-fit")
        return make_threshold_first_fit();
    if (name == "watcher-stddev")
        return make_watcher_stddev();
    if (name == "proxmox-imbalance")
        return make_proxmox_imbalance();
    if (name == "none")
        return std::make_unique<NoPlanner>();
    return nullptr;
}

} // namespace drover::balancer
