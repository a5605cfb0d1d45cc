// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration.h"

#include "migration/ram/ram_block.h"

#include <algorithm>
#include <cmath>

namespace drover::sim {

namespace {

constexpr double page_bytes = ram_page_size;
/// What a round takes besides its bytes: the acknowledgement, and collecting.
constexpr double round_latency_s = 0.002;
/// Of a cell, in the first round: so much must have been written again for the rest to wait.
constexpr double hot_part = 0.3;
/// Nobody waits longer than this many deadlines.
constexpr double patience = 3;

/// A migration under way: which part of each cell is still to be sent, and two clocks.
class Run {
public:
    Run(const Case& situation, Engine engine)
        : guest_(situation.guest), link_(situation.link), engine_(engine),
          cells_(guest_.cells.size())
    {
        stats_.handover_s = guest_.handover_s;
        stats_.link_bytes_s = link_.at(0);
        stats_.pages_total = static_cast<uint64_t>(guest_.pages());
        stats_.can_slow = true;
        for (const double seconds : {0.1, 0.2, 0.4, 0.8})
            stats_.windows.push_back({seconds, written_within(seconds)});
    }

    [[nodiscard]] const MigrationStats& stats() const { return stats_; }
    [[nodiscard]] double time() const { return time_; }
    [[nodiscard]] double bytes() const { return bytes_; }
    [[nodiscard]] double mean_slowdown() const { return time_ > 0 ? slowed_ / time_ : 0; }
    void slow_down(double slowdown) { stats_.slowdown = slowdown; }
    void leave_hot(bool leave) { leave_hot_ = leave; }

    /// If the guest were paused now.
    [[nodiscard]] double downtime() const
    {
        return link_.time_for(time_, left() * page_bytes) - time_ + guest_.handover_s;
    }

    void round()
    {
        const double start = time_, bytes = bytes_;
        const double synced = clock_;
        for (const size_t index : order())
            send(index, synced);
        pass(round_latency_s);
        for (size_t i = 0; i < cells_.size(); ++i)
            settle(i, synced);
        RoundStats round;
        round.round = static_cast<unsigned>(stats_.rounds.size()) + 1;
        round.bytes = static_cast<uint64_t>(bytes_ - bytes);
        round.pages_sent = round.bytes / ram_page_size;
        round.seconds = time_ - start;
        round.pages_dirty = static_cast<uint64_t>(left());
        round.slowdown = stats_.slowdown;
        stats_.rounds.push_back(round);
        stats_.elapsed_s = time_;
    }

    [[nodiscard]] double left() const
    {
        double pages = 0;
        for (size_t i = 0; i < cells_.size(); ++i)
            pages += cells_[i].dirty * guest_.cells[i].pages;
        return pages;
    }

private:
    struct CellState {
        double dirty = 1; ///< the part that is to be sent
        double since = 0; ///< the guest's clock when that was true
    };

    /// In windows one after the other, as they are measured.
    uint64_t written_within(double seconds)
    {
        const double from = measured_, to = measured_ + seconds;
        measured_ = to;
        const double start = guest_.activity.area(0, from), end = guest_.activity.area(0, to);
        double pages = 0;
        for (const Cell& cell : guest_.cells)
            pages += part_written(cell, start, end) * cell.pages;
        return static_cast<uint64_t>(pages);
    }

    void pass(double seconds)
    {
        clock_ += guest_.activity.area(time_, time_ + seconds) * (1 - stats_.slowdown);
        slowed_ += seconds * stats_.slowdown;
        time_ += seconds;
    }

    /// Drover puts off in its first round what the guest has already written to.
    [[nodiscard]] std::vector<size_t> order() const
    {
        std::vector<size_t> order(cells_.size());
        for (size_t i = 0; i < order.size(); ++i)
            order[i] = i;
        if (engine_ == Engine::Collects && stats_.rounds.empty())
            std::stable_partition(order.begin(), order.end(), [&](size_t i) {
                return part_written(guest_.cells[i], clock_, clock_ + 0.02) *
                           guest_.cells[i].pages <
                       1;
            });
        return order;
    }

    void update(size_t index)
    {
        CellState& cell = cells_[index];
        const double written = part_written(guest_.cells[index], cell.since, clock_);
        cell.dirty += (1 - cell.dirty) * written;
        cell.since = clock_;
    }

    void send(size_t index, double synced)
    {
        CellState& state = cells_[index];
        const Cell& cell = guest_.cells[index];
        if (engine_ == Engine::Collects)
            update(index);
        const double again = part_written(cell, synced, clock_);
        double part = state.dirty;
        if (engine_ == Engine::Skips)
            part *= 1 - again;
        const bool leave = engine_ == Engine::Collects && leave_hot_ &&
                           (!stats_.rounds.empty() || again > hot_part);
        if (leave)
            part *= 1 - again;
        const double size = part * cell.pages * page_bytes;
        const double before = clock_;
        pass(link_.time_for(time_, size) - time_);
        bytes_ += size;
        if (engine_ == Engine::Collects) {
            // Its pages went out one by one: on average half of the time is left to each.
            state.dirty -= part;
            state.since = (before + clock_) / 2;
        }
    }

    /// At a round's end: what is dirty now.
    void settle(size_t index, double synced)
    {
        if (engine_ == Engine::Collects)
            return update(index);
        cells_[index].dirty = part_written(guest_.cells[index], synced, clock_);
        cells_[index].since = clock_;
    }

    const Guest& guest_;
    const Course& link_;
    Engine engine_;
    std::vector<CellState> cells_;
    MigrationStats stats_;
    bool leave_hot_ = false;
    double measured_ = 0; ///< seconds of windows so far
    double time_ = 0;     ///< seconds since the start
    double clock_ = 0;    ///< the guest's own: activity summed up
    double slowed_ = 0;   ///< slow-down times seconds
    double bytes_ = 0;
};

double give_up_after(const MigrationWish& wish)
{
    return patience * wish.deadline_s.value_or(600);
}

MigrationWish make_wish(Random& random)
{
    MigrationWish wish;
    const std::vector<double> downtimes = {0.03, 0.05, 0.1, 0.3, 1};
    const std::vector<double> deadlines = {30, 60, 120, 300, 900};
    const std::vector<double> slowdowns = {0, 0.2, 0.5, 0.8};
    wish.downtime_s = downtimes[random() % downtimes.size()];
    wish.deadline_s = deadlines[random() % deadlines.size()];
    wish.max_slowdown = slowdowns[random() % slowdowns.size()];
    return wish;
}

} // namespace

Case make_case(uint64_t number)
{
    Random random(number * 2654435761U + 1);
    const auto& kinds = guest_kinds();
    Guest guest = make_guest(kinds[number % kinds.size()], random);
    Course link = make_link(random);
    return {std::move(guest), std::move(link), make_wish(random)};
}

Outcome migrate(const Case& situation, Rule& rule,
                const std::function<void(double, const Decision&)>& told)
{
    Run run(situation, rule.engine());
    Outcome outcome;
    const MigrationWish& wish = situation.wish;
    Decision decision = rule.decide(wish, run.stats());
    outcome.forecast_s = decision.predicted_total_s;
    while (decision.action == Decision::Action::NextRound && run.time() < give_up_after(wish)) {
        run.slow_down(decision.slowdown);
        run.leave_hot(decision.leave_hot);
        outcome.worst_slowdown = std::max(outcome.worst_slowdown, decision.slowdown);
        run.round();
        decision = rule.decide(wish, run.stats());
        if (told)
            told(run.time(), decision);
    }
    outcome.completed = decision.action == Decision::Action::SwitchOver;
    outcome.total_s = run.time();
    outcome.bytes = run.bytes();
    outcome.mean_slowdown = run.mean_slowdown();
    if (!outcome.completed)
        return outcome;
    outcome.downtime_s = run.downtime();
    outcome.total_s += outcome.downtime_s;
    outcome.bytes += run.left() * page_bytes;
    outcome.kept = outcome.downtime_s <= wish.downtime_s && outcome.total_s <= *wish.deadline_s &&
                   outcome.worst_slowdown <= wish.max_slowdown + 1e-9;
    return outcome;
}

bool oracle_keeps(const Case& situation)
{
    const MigrationWish& wish = situation.wish;
    for (const double part : {0.0, 0.5, 1.0}) {
        Run run(situation, Engine::Collects);
        run.slow_down(wish.max_slowdown * part);
        while (run.time() < *wish.deadline_s) {
            run.round();
            const double downtime = run.downtime();
            if (downtime <= wish.downtime_s && run.time() + downtime <= *wish.deadline_s)
                return true;
        }
        if (wish.max_slowdown == 0)
            break;
    }
    return false;
}

} // namespace drover::sim
