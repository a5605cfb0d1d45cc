// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/judge/exact.h"

#include <algorithm>

namespace drover::balancer {

namespace {

constexpr double rounding = 1e-6;
constexpr double none = 1e18;
constexpr size_t deepest = 8;

class BranchAndBound {
public:
    BranchAndBound(const Scene& scene, const ExactLimits& limits)
        : scene_(scene), nodes_left_(limits.nodes), most_steps_(std::min(limits.steps, deepest)),
          last_of_(scene.host_count())
    {
        result_.score = limits.known;
        for (HostId id = 0; id < scene_.host_count(); ++id)
            if (scene_.host(id).hot)
                hot_.push_back(id);
        collect_vms();
        for (const VmId vm : vms_)
            add_targets(vm);
        cheapest_left_.resize(vms_.size() + 1, none);
        for (size_t i = vms_.size(); i-- > 0;)
            cheapest_left_[i] = std::min(cheapest_left_[i + 1], cheapest_[i].disturbance);
    }

    ExactResult solve()
    {
        // Short plans first: a good one makes the bound of the longer ones sharp.
        cut_ = !hot_.empty();
        for (depth_ = 1; cut_ && nodes_left_ > 0 && depth_ <= most_steps_; ++depth_) {
            cut_ = false;
            branch(0, 0, {});
        }
        result_.complete = nodes_left_ > 0;
        return std::move(result_);
    }

private:
    /// The least that a move of a VM may cost.
    struct Price {
        double disturbance = none;
        double seconds = none;
    };

    /// Those of hot hosts first: they decide, and the bound soon tells.
    void collect_vms()
    {
        for (VmId vm = 0; vm < scene_.fleet().vm_ids(); ++vm)
            if (scene_.vm_refusal(vm, Purpose::Relief) == Reason::None)
                vms_.push_back(vm);
        const auto well = std::stable_partition(vms_.begin(), vms_.end(), [&](VmId vm) {
            return scene_.host(scene_.fleet().host_of(vm)).hot;
        });
        hot_vms_ = static_cast<size_t>(well - vms_.begin());
    }

    void add_targets(VmId vm)
    {
        const HostId from = scene_.fleet().host_of(vm);
        std::vector<HostId>& targets = targets_.emplace_back();
        Price& least = cheapest_.emplace_back();
        for (HostId id = 0; id < scene_.host_count(); ++id) {
            if (scene_.pair_refusal(vm, id, Purpose::Relief) != Reason::None)
                continue;
            targets.push_back(id);
            const MoveCost cost = scene_.cost({vm, from, id});
            least.disturbance = std::min(least.disturbance, cost.disturbance);
            least.seconds = std::min(least.seconds, cost.seconds);
        }
        last_of_[from] = targets_.size();
    }

    /// At most so much heat can still go, and at least so much it would disturb: each hot host
    /// without its greatest VMs of each resource, as if they were the same ones.
    [[nodiscard]] double bound(size_t next) const
    {
        double sum = 0;
        for (const HostId id : hot_)
            sum += bound_of(id, next);
        return sum;
    }

    [[nodiscard]] double bound_of(HostId id, size_t next) const
    {
        Amount load = scene_.host(id).after;
        Amount later = scene_.host(id).later;
        unsigned out = scene_.host(id).out;
        double seconds = 0; // until it is cool, at least
        for (const Step& step : steps_)
            if (step.from == id) {
                load -= scene_.load_of(step.vm);
                later -= scene_.snapshot().vms[step.vm].later;
                seconds = std::max(seconds, scene_.cost(step).seconds);
                ++out;
            }
        const double before = scene_.host(id).heat;
        const auto gain = [&](double least_s) {
            const double change = scene_.heat(id, load, later) - before;
            return change < 0 ? change * scene_.part_gained(std::max(seconds, least_s)) : 0;
        };
        double best = gain(0);
        const Rest rest = rest_of(id, next);
        const unsigned may = scene_.fleet().host(id).max_out;
        for (size_t count = 1; count <= rest.loads[0].size() && out + count <= may; ++count) {
            for (size_t r = 0; r < resource_count; ++r)
                load.part[r] -= rest.loads[r][count - 1];
            best = std::min(best, gain(rest.cheapest.seconds) +
                                      double(count) * rest.cheapest.disturbance);
        }
        return best;
    }

    /// A host's VMs that have not been decided on.
    struct Rest {
        std::array<std::vector<double>, resource_count> loads; ///< the greatest first
        Price cheapest;
    };

    [[nodiscard]] Rest rest_of(HostId id, size_t next) const
    {
        Rest rest;
        for (size_t i = next; i < vms_.size(); ++i) {
            if (scene_.fleet().host_of(vms_[i]) != id || targets_[i].empty())
                continue;
            const VmView& vm = scene_.snapshot().vms[vms_[i]];
            for (size_t r = 0; r < resource_count; ++r)
                rest.loads[r].push_back(vm.predicted.part[r] + vm.later.part[r]);
            Price& least = rest.cheapest;
            least.disturbance = std::min(least.disturbance, cheapest_[i].disturbance);
            least.seconds = std::min(least.seconds, cheapest_[i].seconds);
        }
        for (auto& list : rest.loads)
            std::sort(list.begin(), list.end(), std::greater<>());
        return rest;
    }

    /// `now`: what the steps so far do.
    void branch(size_t next, double disturbance, const Outcome& now)
    {
        if (nodes_left_ == 0 || next == vms_.size())
            return;
        --nodes_left_;
        if (is_hopeless(next, disturbance, now))
            return;
        if (steps_.size() == depth_) {
            cut_ = true;
            return;
        }
        for (const HostId to : targets_[next]) {
            const Step step{vms_[next], scene_.fleet().host_of(vms_[next]), to};
            if (!within_numbers(step))
                continue;
            steps_.push_back(step);
            const Outcome outcome = scene_.evaluate(steps_);
            if (outcome.possible() && outcome.score() < result_.score - rounding)
                result_ = {steps_, outcome.score()};
            branch(next + 1, disturbance + scene_.cost(step).disturbance, outcome);
            steps_.pop_back();
        }
        branch(next + 1, disturbance, now);
    }

    [[nodiscard]] bool is_hopeless(size_t next, double disturbance, const Outcome& now) const
    {
        // A host that is too full, and of whose VMs all have been decided on. (No host: the steps
        // find no order, which yet another may change.)
        if (!now.possible() && now.where != no_host &&
            (!is_no_room(now.refusal) || last_of_[now.where] <= next))
            return true;
        // VMs of hosts that are well only make room, at a price.
        const double price = next < hot_vms_ ? 0 : cheapest_left_[next];
        return disturbance + bound(next) + price >= result_.score - rounding;
    }

    /// What more steps cannot mend.
    [[nodiscard]] bool within_numbers(const Step& step) const
    {
        unsigned in = scene_.host(step.to).in + 1;
        unsigned out = scene_.host(step.from).out + 1;
        unsigned over_to = in + scene_.host(step.to).out;
        unsigned over_from = out + scene_.host(step.from).in;
        for (const Step& other : steps_) {
            in += other.to == step.to ? 1 : 0;
            out += other.from == step.from ? 1 : 0;
            over_to += other.to == step.to || other.from == step.to ? 1 : 0;
            over_from += other.to == step.from || other.from == step.from ? 1 : 0;
        }
        const unsigned link = scene_.rules().max_per_link;
        return in <= scene_.fleet().host(step.to).max_in &&
               out <= scene_.fleet().host(step.from).max_out && over_to <= link &&
               over_from <= link;
    }

    const Scene& scene_;
    size_t nodes_left_;
    size_t most_steps_;
    size_t depth_ = 0; ///< steps that are tried in this turn
    bool cut_ = false; ///< more steps might have been better
    std::vector<VmId> vms_;
    std::vector<std::vector<HostId>> targets_;
    std::vector<Price> cheapest_;
    std::vector<double> cheapest_left_; ///< disturbance, of the VMs from there on
    std::vector<size_t> last_of_;       ///< by host: one more than its last VM's place in vms_
    size_t hot_vms_ = 0;
    std::vector<HostId> hot_;
    std::vector<Step> steps_;
    ExactResult result_;
};

} // namespace

ExactResult solve_exactly(const Scene& scene, const ExactLimits& limits)
{
    return BranchAndBound(scene, limits).solve();
}

Outcome judge_moves(const Snapshot& snapshot, const std::vector<Move>& moves)
{
    const Scene scene(snapshot);
    std::vector<Step> steps;
    steps.reserve(moves.size());
    for (const Move& move : moves)
        steps.push_back({move.vm, move.from, move.to});
    return steps.empty() ? Outcome{} : scene.evaluate(steps);
}

} // namespace drover::balancer
