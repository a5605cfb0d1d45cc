// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/simulate/exact.h"

#include <algorithm>

namespace drover::balancer {

namespace {

constexpr double rounding = 1e-6;
constexpr size_t most_steps = 8;

class BranchAndBound {
public:
    BranchAndBound(const Snapshot& snapshot, double known, size_t most_nodes)
        : snapshot_(snapshot), scene_(snapshot), nodes_left_(most_nodes)
    {
        result_.score = known;
        const Fleet& fleet = scene_.fleet();
        for (VmId vm = 0; vm < fleet.vm_ids(); ++vm)
            if (scene_.vm_refusal(vm, Purpose::Relief) == Reason::None)
                vms_.push_back(vm);
        // Those of hot hosts first: they decide, and the bound soon tells.
        std::stable_partition(vms_.begin(), vms_.end(),
                              [&](VmId vm) { return scene_.host(fleet.host_of(vm)).hot; });
        for (HostId id = 0; id < scene_.host_count(); ++id)
            if (scene_.host(id).hot)
                hot_.push_back(id);
        targets_.resize(vms_.size());
        for (size_t i = 0; i < vms_.size(); ++i) {
            for (HostId id = 0; id < scene_.host_count(); ++id)
                if (scene_.pair_refusal(vms_[i], id, Purpose::Relief) == Reason::None)
                    targets_[i].push_back(id);
            cheapest_.push_back(cheapest_move(i));
        }
    }

    ExactResult solve()
    {
        if (!hot_.empty())
            branch(0, 0);
        return std::move(result_);
    }

private:
    [[nodiscard]] double cheapest_move(size_t i) const
    {
        double least = 1e18;
        for (const HostId to : targets_[i])
            least = std::min(
                least, scene_.cost({vms_[i], scene_.fleet().host_of(vms_[i]), to}).disturbance);
        return least;
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
        for (const Step& step : steps_)
            if (step.from == id) {
                load -= scene_.load_of(step.vm);
                later -= snapshot_.vms[step.vm].later;
                ++out;
            }
        std::array<std::vector<double>, resource_count> going;
        double cheapest = 1e18;
        for (size_t i = next; i < vms_.size(); ++i)
            if (scene_.fleet().host_of(vms_[i]) == id) {
                for (size_t r = 0; r < resource_count; ++r)
                    going[r].push_back(scene_.load_of(vms_[i]).part[r] +
                                       snapshot_.vms[vms_[i]].later.part[r]);
                cheapest = std::min(cheapest, cheapest_[i]);
            }
        for (auto& list : going)
            std::sort(list.begin(), list.end(), std::greater<>());
        double least = scene_.heat(id, load, later);
        const unsigned may = scene_.fleet().host(id).max_out;
        for (size_t count = 1; count <= going[0].size() && out + count <= may; ++count) {
            for (size_t r = 0; r < resource_count; ++r)
                load.part[r] -= going[r][count - 1];
            least = std::min(least, scene_.heat(id, load, later) + double(count) * cheapest);
        }
        return least - scene_.host(id).heat;
    }

    void branch(size_t next, double disturbance)
    {
        if (nodes_left_ == 0) {
            result_.complete = false;
            return;
        }
        --nodes_left_;
        if (disturbance + bound(next) >= result_.score - rounding || next == vms_.size())
            return;
        for (const HostId to : targets_[next]) {
            const Step step{vms_[next], scene_.fleet().host_of(vms_[next]), to};
            if (steps_.size() >= most_steps || !within_numbers(step))
                continue;
            steps_.push_back(step);
            const Outcome outcome = scene_.evaluate(steps_);
            if (outcome.possible() && outcome.score() < result_.score - rounding)
                result_ = {steps_, outcome.score(), result_.complete};
            branch(next + 1, disturbance + scene_.cost(step).disturbance);
            steps_.pop_back();
        }
        branch(next + 1, disturbance);
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
        const unsigned link = snapshot_.rules.max_per_link;
        return in <= scene_.fleet().host(step.to).max_in &&
               out <= scene_.fleet().host(step.from).max_out && over_to <= link &&
               over_from <= link;
    }

    const Snapshot& snapshot_;
    Scene scene_;
    size_t nodes_left_;
    std::vector<VmId> vms_;
    std::vector<std::vector<HostId>> targets_;
    std::vector<double> cheapest_;
    std::vector<HostId> hot_;
    std::vector<Step> steps_;
    ExactResult result_;
};

} // namespace

ExactResult solve_exactly(const Snapshot& snapshot, double known, size_t most_nodes)
{
    return BranchAndBound(snapshot, known, most_nodes).solve();
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
