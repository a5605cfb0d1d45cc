// SPDX-License-Identifier: GPL-2.0-or-later
//
// The balancer's plans: made each round, approved or carried out, never acted on when stale.
#include "contrib/balancer/cluster/balancer.h"

#include "util/log.h"

#include <algorithm>

namespace drover::balancer::cluster {

namespace {

constexpr size_t kept_plans = 50;

bool same_move(const ChosenMove& a, const ChosenMove& b)
{
    return a.vm == b.vm && a.from == b.from && a.to == b.to;
}

bool same_moves(const std::vector<PlannedMove>& a, const std::vector<PlannedMove>& b)
{
    return std::equal(
        a.begin(), a.end(), b.begin(), b.end(),
        [](const PlannedMove& x, const PlannedMove& y) { return same_move(x.move, y.move); });
}

} // namespace

void Balancer::make_plan()
{
    if (mode_ == Mode::Off && evacuating_.empty()) {
        plan_ = {};
        return;
    }
    ChosenPlan chosen = parts_.judgement.plan();
    CurrentPlan fresh{.made = parts_.time.now(), .made_wall = parts_.time.wall()};
    fresh.rejected = std::move(chosen.rejected);
    fresh.verdicts = std::move(chosen.verdicts);
    for (ChosenMove& move : chosen.moves) {
        if (mode_ == Mode::Off && !evacuating_.contains(move.from))
            continue;
        const char* state = move.waits ? "waiting" : "proposed";
        fresh.moves.push_back({"", std::move(move), state, ""});
    }
    carry_over(fresh);
    const bool is_new = fresh.id.empty();
    if (is_new) {
        fresh.id = "p-" + std::to_string(parts_.run) + "-" + std::to_string(++plans_);
        for (size_t i = 0; i < fresh.moves.size(); ++i)
            fresh.moves[i].id = fresh.id + "." + std::to_string(i + 1);
        if (!plan_.moves.empty())
            former_plans_.push_back(std::move(plan_));
        if (former_plans_.size() > kept_plans)
            former_plans_.pop_front();
    }
    plan_ = std::move(fresh);
    if (!is_new || plan_.moves.empty())
        return;
    (void)parts_.journal.keep_plan(plan_.id, plan_json(plan_));
    std::string text;
    for (const PlannedMove& planned : plan_.moves)
        text += (text.empty() ? "" : "; ") + planned.move.vm + " from " + planned.move.from +
                " to " + planned.move.to;
    note("plan", plan_.id, text);
    parts_.event("PLAN", plan_json(plan_));
}

/// The same moves as before are the same plan: its IDs stay, so that it can be approved.
void Balancer::carry_over(CurrentPlan& fresh) const
{
    if (plan_.id.empty() || !same_moves(fresh.moves, plan_.moves))
        return;
    fresh.id = plan_.id;
    for (size_t i = 0; i < fresh.moves.size(); ++i)
        fresh.moves[i].id = plan_.moves[i].id;
}

/// On this round's plan only. What a user ordered (an evacuation) waits for no approval.
void Balancer::act()
{
    if (mode_ == Mode::Recommend)
        keep_foretold();
    const bool has_second_half = std::any_of(plan_.moves.begin(), plan_.moves.end(),
                                             [](const auto& move) { return move.move.waits; });
    if (has_second_half && mode_ == Mode::Automatic && !all_foretold())
        return; // what the guests say may change the choice, and a half alone is of no use
    for (PlannedMove& planned : plan_.moves)
        if (!planned.move.waits &&
            (mode_ == Mode::Automatic || evacuating_.contains(planned.move.from)))
            act_on(planned);
    if (has_second_half && mode_ == Mode::Automatic)
        promise(plan_.moves);
}

void Balancer::act_on(PlannedMove& planned)
{
    const ChosenMove& move = planned.move;
    // The guest's own word may change the choice: it is asked, and a later round plans with it.
    if (!is_foretold(move)) {
        planned.state = "forecasting";
        return;
    }
    const std::string wish = evacuating_.contains(move.from) ? "evacuate" : "plan";
    const auto begun = begin(move, wish, move.why);
    planned.state = begun ? "begun" : "refused";
    planned.note = begun ? *begun : begun.error().text();
    if (!begun)
        log::warning("plan " + plan_.id + ": " + begun.error().text());
}

/// The moves that an ID means: of a plan all, or one; of this plan or of a former one.
std::vector<PlannedMove> Balancer::planned(const std::string& id) const
{
    std::vector<PlannedMove> found;
    const auto look = [&](const CurrentPlan& plan) {
        for (const PlannedMove& planned : plan.moves)
            if (plan.id == id || planned.id == id)
                found.push_back(planned);
    };
    look(plan_);
    for (const CurrentPlan& plan : former_plans_)
        if (found.empty())
            look(plan);
    return found;
}

/// Each is looked for in a plan that is made of what is known now.
Result<Json> Balancer::approve(const std::string& id, const std::string& who)
{
    const std::vector<PlannedMove> wanted = planned(id);
    if (wanted.empty())
        return fail(ErrorKind::Invalid, "no plan or planned move " + id, "see query-plan");
    observe();
    const ChosenPlan fresh = parts_.judgement.plan();
    Json migrations = Json::array();
    Json refused = Json::array();
    std::vector<PlannedMove> begun_now;
    for (const PlannedMove& planned : wanted) {
        const auto still =
            std::find_if(fresh.moves.begin(), fresh.moves.end(),
                         [&](const ChosenMove& move) { return same_move(move, planned.move); });
        Result<std::string> begun =
            fail(ErrorKind::Refused, "the world has changed: the move is not in the plan any more",
                 "see query-plan");
        if (still != fresh.moves.end() && still->waits)
            begun = fail(ErrorKind::Refused, "it waits for another move of the plan",
                         "approve it once that has ended");
        else if (still != fresh.moves.end())
            begun = begin(*still, "plan", still->why);
        begun_now.push_back(planned);
        begun_now.back().state = begun ? "begun" : "refused";
        begun_now.back().note = begun ? *begun : "";
        if (begun)
            migrations.push_back(*begun);
        else
            refused.push_back({{"move", planned.id}, {"why", begun.error().text()}});
    }
    if (migrations.empty())
        return fail(ErrorKind::Refused, id + ": " + json_string(refused[0], "why"));
    promise(begun_now);
    note("approve", id, "approved by " + who);
    return Json{{"migrations", std::move(migrations)}, {"refused", std::move(refused)}};
}

} // namespace drover::balancer::cluster
