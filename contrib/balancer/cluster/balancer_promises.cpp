// SPDX-License-Identifier: GPL-2.0-or-later
//
// The second halves of plans whose first halves have begun.
#include "contrib/balancer/cluster/balancer.h"

#include "util/log.h"

#include <algorithm>

namespace drover::balancer::cluster {

namespace {
constexpr double kept_for = 900; ///< seconds: longer than that, and the world is another
} // namespace

/// Whether the guests of all moves of the plan have been asked what it will cost; asks.
bool Balancer::all_foretold()
{
    bool all = true;
    for (PlannedMove& planned : plan_.moves) {
        if (is_foretold(planned.move))
            continue;
        planned.state = "forecasting";
        all = false;
    }
    return all;
}

/// Of the moves of one plan, those that wait, if all that they wait for has begun.
void Balancer::promise(const std::vector<PlannedMove>& moves)
{
    std::vector<std::string> begun;
    for (const PlannedMove& planned : moves) {
        if (!planned.move.waits && planned.state != "begun")
            return;
        if (!planned.move.waits)
            begun.push_back(planned.note);
    }
    if (begun.empty())
        return;
    for (const PlannedMove& planned : moves) {
        if (!planned.move.waits)
            continue;
        promises_.push_back({planned.move, plan_.id, begun, parts_.time.now() + kept_for});
        note("promise", plan_.id, planned.move.vm + " follows once there is room", planned.move.vm,
             planned.move.from, planned.move.to);
    }
}

void Balancer::break_promise(const Promise& promise, const std::string& why)
{
    const std::string text =
        promise.move.vm + " does not follow to " + promise.move.to + ": " + why;
    log::warning("plan " + promise.plan + ": " + text);
    note("promise", promise.plan, text, promise.move.vm, promise.move.from, promise.move.to);
}

void Balancer::settle_promises(const MoveRecord& closed)
{
    std::erase_if(promises_, [&](Promise& promise) {
        if (std::erase(promise.after, closed.id) == 0 || closed.outcome == "completed")
            return false;
        break_promise(promise, "the move before it " + closed.outcome);
        return true;
    });
}

void Balancer::keep_promises()
{
    std::erase_if(promises_, [this](const Promise& promise) {
        if (mode_ == Mode::Off || parts_.time.now() > promise.until) {
            break_promise(promise, mode_ == Mode::Off ? "the mode is off" : "it took too long");
            return true;
        }
        if (!promise.after.empty())
            return false;
        const auto still = parts_.judgement.choose(promise.move.vm, promise.move.to);
        const auto begun = still ? begin(*still, "plan", promise.move.why)
                                 : Result<std::string>(std::unexpected(still.error()));
        if (!begun)
            break_promise(promise, begun.error().text());
        return true;
    });
}

} // namespace drover::balancer::cluster
