// SPDX-License-Identifier: GPL-2.0-or-later
//
// Ours, and the rules of others, each as far as it decides about rounds: written from their
// documentation and papers. All get the same guests, links and wishes; a rule that has no wish
// built in does as it always does.
#include "migration.h"

#include "migration/ram/ram_block.h"

#include <algorithm>

namespace drover::sim {

namespace {

using Action = Decision::Action;

Decision next_round(double slowdown = 0)
{
    Decision decision;
    decision.action = Action::NextRound;
    decision.slowdown = slowdown;
    return decision;
}

Decision switch_over(double slowdown = 0)
{
    Decision decision = next_round(slowdown);
    decision.action = Action::SwitchOver;
    return decision;
}

double latest_bytes_s(const MigrationStats& stats)
{
    const RoundStats& round = stats.rounds.back();
    return round.seconds > 0 ? static_cast<double>(round.bytes) / round.seconds : 0;
}

double left_bytes(const MigrationStats& stats)
{
    return static_cast<double>(stats.pages_left()) * ram_page_size;
}

class Drover : public Rule {
public:
    Engine engine() const override { return Engine::Collects; }
    Decision decide(const MigrationWish& wish, const MigrationStats& stats) override
    {
        return policy_.decide(wish, stats);
    }

private:
    ConvergePolicy policy_;
};

/// QEMU's downtime-limit: the rest, at the bandwidth seen last, must fit. Else another round, for
/// ever.
class Qemu : public Rule {
public:
    Engine engine() const override { return Engine::Syncs; }
    Decision decide(const MigrationWish& wish, const MigrationStats& stats) override
    {
        if (stats.rounds.empty())
            return next_round();
        return fits(stats, wish.downtime_s) ? switch_over(throttle(stats))
                                            : next_round(throttle(stats));
    }

protected:
    static bool fits(const MigrationStats& stats, double downtime_s)
    {
        return left_bytes(stats) <= latest_bytes_s(stats) * downtime_s;
    }
    virtual double throttle(const MigrationStats&) { return 0; }
};

/// QEMU's auto-converge: where twice as much as half of what was sent gets dirty, twice, vCPUs
/// sleep 20 % of their time, then 10 % more each time, up to 99 %.
class AutoConverge : public Qemu {
    double throttle(const MigrationStats& stats) override
    {
        const auto sent = static_cast<double>(stats.rounds.back().bytes);
        if (left_bytes(stats) > sent / 2 && ++high_ >= 2) {
            high_ = 0;
            throttle_ = throttle_ == 0 ? 0.2 : std::min(0.99, throttle_ + 0.1);
        }
        return throttle_;
    }
    int high_ = 0;
    double throttle_ = 0;
};

/// KubeVirt's VEP 291: QEMU's limit begins at 150 ms and, from the third round on, is raised every
/// ten seconds by a seventh of the way to the ceiling, for which the wish stands here.
class DowntimeRamp : public Qemu {
public:
    Decision decide(const MigrationWish& wish, const MigrationStats& stats) override
    {
        constexpr unsigned start_after = 3;
        constexpr double cooldown_s = 10, first_s = 0.150, steps = 7;
        if (stats.rounds.empty())
            return next_round();
        const double first = std::min(first_s, wish.downtime_s);
        if (limit_ == 0)
            limit_ = first;
        if (stats.rounds.size() < start_after)
            raised_ = stats.elapsed_s;
        while (stats.elapsed_s - raised_ >= cooldown_s) {
            raised_ += cooldown_s;
            limit_ = std::min(wish.downtime_s, limit_ + (wish.downtime_s - first) / steps);
        }
        return fits(stats, limit_) ? switch_over() : next_round();
    }

private:
    double limit_ = 0;
    double raised_ = 0;
};

/// Xen's: at most 5 rounds, at most 3 times the memory, done when 50 pages are left.
class Xen : public Rule {
public:
    Engine engine() const override { return Engine::Skips; }
    Decision decide(const MigrationWish&, const MigrationStats& stats) override
    {
        uint64_t sent = 0;
        for (const RoundStats& round : stats.rounds)
            sent += round.pages_sent;
        const bool over =
            stats.rounds.size() >= 5 || sent > 3 * stats.pages_total || stats.pages_left() < 50;
        return !stats.rounds.empty() && over ? switch_over() : next_round();
    }
};

/// Clark et al., "Live Migration of Virtual Machines" (NSDI 2005): until what is left is the
/// writable working set, that is, until a round leaves no less than the one before, or 256 KB.
class WorkingSet : public Rule {
public:
    Engine engine() const override { return Engine::Skips; }
    Decision decide(const MigrationWish&, const MigrationStats& stats) override
    {
        constexpr size_t most_rounds = 30;
        const size_t rounds = stats.rounds.size();
        if (rounds == 0)
            return next_round();
        const bool small = left_bytes(stats) <= 256e3;
        const bool reached =
            rounds >= 2 && stats.pages_left() >= stats.rounds[rounds - 2].pages_dirty;
        return small || reached || rounds >= most_rounds ? switch_over() : next_round();
    }
};

template <typename R> std::unique_ptr<Rule> make()
{
    return std::make_unique<R>();
}

} // namespace

const std::vector<RuleKind>& all_rules()
{
    static const std::vector<RuleKind> rules = {
        {"drover", make<Drover>},
        {"qemu", make<Qemu>},
        {"qemu-autoconverge", make<AutoConverge>},
        {"xen", make<Xen>},
        {"clark-wws", make<WorkingSet>},
        {"kubevirt-vep291", make<DowntimeRamp>},
    };
    return rules;
}

} // namespace drover::sim
