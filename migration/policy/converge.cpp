// SPDX-License-Identifier: GPL-2.0-or-later
//
// The policy in words.
//
// Before the first round and after each, it asks what would happen if rounds went on as the guest
// writes and the link carries (model.h):
//
//  1. What is left fits into the wished downtime, even if the link has a bad moment: switch over.
//     Unless one more round costs next to nothing and makes the pause much shorter: then that.
//  2. The link has just dropped to less than half: no decision is made on such a round. Another.
//  3. Rounds will bring it there before the deadline, with the guest at full speed: another round.
//  4. They will not. Then what the user permits, in the user's order:
//     slow      the mildest slow-down with which rounds will bring it there before the deadline;
//               the full one, if none does but something comes after that gains by it;
//     wait      rounds go on at full speed, for a guest that may write less later, as long as the
//               deadline leaves time for what comes after "wait" in the list (without a deadline:
//               until rounds have gained nothing for a while, if something comes after);
//     postcopy  the guest moves now and its memory follows, where both hosts can;
//     switch    it is paused for longer than wished, at a moment when little is left as guests go:
//               no more than the least that recent rounds have left, or at the deadline;
//     abort     the migration ends, and the guest stays.
//  5. Nothing of this is permitted or possible: rounds go on, as in QEMU, and the reason says so.
#include "migration/policy/model.h"
#include "migration/policy/policy.h"
#include "migration/ram/ram_block.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace drover {

namespace {

/// A downtime that fits the wish is made shorter still where that is nearly free: where one more
/// round, taking at most this part of the time so far, saves at least this much.
constexpr double cheap_round = 0.05;
constexpr double worthwhile_s = 0.003;

/// Models err: plans keep this part of the deadline and of the downtime in reserve.
constexpr double time_reserve = 0.1;
constexpr double downtime_reserve = 0.1;
constexpr double shortest_copy_s = 0.002;

/// Without a deadline, "wait" is over when this many rounds in a row gained nothing.
constexpr unsigned patient_rounds = 8;
/// A model that promises a gain is doubted after so many rounds without one.
constexpr unsigned doubtful_rounds = 3;
/// A round gains if it leaves at least a tenth less than the least that was left before.
constexpr double gain_factor = 0.9;
/// "switch" takes what is within this factor of the least of the recent rounds.
constexpr double good_moment = 1.15;
constexpr unsigned recent_rounds = 6;

/// A round takes about as long as the downtime would if it were made instead.
constexpr double last_chance = 2.2;

constexpr double forever = std::numeric_limits<double>::infinity();

std::string milliseconds(double seconds)
{
    char text[32];
    snprintf(text, sizeof text, seconds < 0.0995 ? "%.1f ms" : "%.0f ms", seconds * 1e3);
    return text;
}

std::string whole_seconds(double seconds)
{
    char text[32];
    snprintf(text, sizeof text, seconds < 10 ? "%.1f s" : "%.0f s", seconds);
    return text;
}

std::string percent(double part)
{
    return std::to_string(std::lround(part * 100)) + " %";
}

std::string megabytes_a_second(double bytes_s)
{
    return std::to_string(std::lround(bytes_s / 1e6)) + " MB/s";
}

/// One question to the policy, taken apart into steps.
class Judgement {
public:
    Judgement(const MigrationWish& wish, const MigrationStats& stats)
        : wish_(wish), stats_(stats), dirty_(DirtyModel::of(stats)), link_(LinkModel::of(stats)),
          left_(static_cast<double>(stats.pages_left())),
          time_left_(wish.deadline_s ? *wish.deadline_s - stats.elapsed_s : forever)
    {
        const double copy_s = link_.bytes_s > 0 ? left_ / link_.pages_s() : 0;
        decision_.predicted_downtime_s = copy_s + stats.handover_s;
        decision_.slowdown = 0;
    }

    Decision decide()
    {
        begin_reason();
        if (link_.bytes_s <= 0 && left_ > 0)
            return another_round(0, "nothing is known of the link yet");
        if (!stats_.rounds.empty() && fits_now())
            return is_cheap_gain()
                       ? another_round(stats_.slowdown, "but another round costs little")
                       : switch_over("");
        if (link_.dropped && time_left_ > 0)
            return another_round(stats_.slowdown, "the link fell from " +
                                                      megabytes_a_second(link_.bytes_s) + " to " +
                                                      megabytes_a_second(link_.latest) +
                                                      ", and may rise again");
        if (!dirty_.known())
            return another_round(0, "nothing is known of the guest's writing yet");
        // A slow-down stays until the end: let go, the guest undoes what was won. And a model that
        // promised a gain for some rounds, and there was none, is not believed any more.
        if (stats_.slowdown == 0 && !has_stalled(doubtful_rounds))
            if (const auto plan = plan_with(0))
                return follow(*plan, 0);
        return when_stalled();
    }

private:
    void begin_reason()
    {
        char text[160];
        if (stats_.rounds.empty())
            snprintf(text, sizeof text, "at the start: %.0f pages to send", left_);
        else
            snprintf(text, sizeof text, "round %u: %.0f pages left = %s at %s, wish %s",
                     stats_.rounds.back().round, left_,
                     milliseconds(decision_.predicted_downtime_s).c_str(),
                     megabytes_a_second(link_.bytes_s).c_str(),
                     milliseconds(wish_.downtime_s).c_str());
        decision_.reason = text;
    }

    Decision finish(Decision::Action action, const std::string& why, const char* what)
    {
        decision_.action = action;
        decision_.reason += (why.empty() ? "" : ", " + why) + ": " + what;
        return decision_;
    }

    /// Less if the user's bound was lowered meanwhile.
    void slow_by(double slowdown)
    {
        decision_.slowdown = std::min(slowdown, wish_.max_slowdown);
        const double round_s = left_ / std::max(link_.pages_s(), 1.0);
        if (decision_.slowdown > 0 && dirty_.known() && round_s > 0)
            decision_.write_rate =
                dirty_.pages_within(round_s * (1 - decision_.slowdown)) / round_s;
    }

    Decision another_round(double slowdown, const std::string& why)
    {
        slow_by(slowdown);
        return finish(Decision::Action::NextRound, why, "another round");
    }

    Decision switch_over(const std::string& why)
    {
        slow_by(stats_.slowdown);
        decision_.predicted_total_s = stats_.elapsed_s + decision_.predicted_downtime_s;
        return finish(Decision::Action::SwitchOver, why, "switch over");
    }

    Decision follow(const Prediction& plan, double slowdown)
    {
        decision_.predicted_total_s = stats_.elapsed_s + plan.seconds;
        decision_.leave_hot = plan.rounds >= 2;
        std::string why =
            std::to_string(plan.rounds) + " more rounds, " + whole_seconds(plan.seconds) + " to go";
        if (slowdown > 0)
            why = "the guest slowed by " + percent(slowdown) + ", " + why;
        return another_round(slowdown, why);
    }

    /// Reckoned with what the latest round saw, if that is less than the link's level.
    [[nodiscard]] bool fits_now() const
    {
        const double bytes_s = std::min(link_.bytes_s, link_.latest);
        const double copy_s = left_ > 0 ? link_.seconds_for(left_, bytes_s) : 0;
        return copy_s + stats_.handover_s <= allowed_downtime();
    }

    /// No pause is shorter than the hand-over: whoever wishes for less gets the shortest there is.
    [[nodiscard]] double allowed_downtime() const
    {
        return std::max(wish_.downtime_s * (1 - downtime_reserve),
                        stats_.handover_s + shortest_copy_s);
    }

    /// Another round would end after the deadline.
    [[nodiscard]] bool is_last_chance() const
    {
        return time_left_ <= last_chance * decision_.predicted_downtime_s;
    }

    [[nodiscard]] bool is_cheap_gain() const
    {
        const double copy_s = left_ / std::max(link_.pages_s(), 1.0);
        if (!dirty_.known() || has_stalled(doubtful_rounds) ||
            copy_s > cheap_round * stats_.elapsed_s || copy_s > time_left_ / 2)
            return false;
        const double next_s =
            dirty_.left_after(copy_s * (1 - stats_.slowdown), false) / link_.pages_s();
        return copy_s - next_s >= worthwhile_s && next_s <= copy_s / 2;
    }

    /// How rounds go on with this slow-down, if they meet the wish in time.
    [[nodiscard]] std::optional<Prediction> plan_with(double slowdown) const
    {
        const Situation now{
            .pages_left = left_,
            .handover_s = stats_.handover_s,
            .downtime_s = allowed_downtime(),
            .first_round = stats_.rounds.empty(),
        };
        const Prediction plan = predict(dirty_, link_, now, slowdown);
        if (plan.fits && plan.seconds <= time_left_ * (1 - time_reserve))
            return plan;
        return std::nullopt;
    }

    Decision when_stalled()
    {
        for (size_t i = 0; i < wish_.on_stall.size(); ++i) {
            const bool others = i + 1 < wish_.on_stall.size();
            if (auto decision = try_action(wish_.on_stall[i], others))
                return *decision;
        }
        return another_round(stats_.slowdown, "and nothing that is permitted brings it down");
    }

    std::optional<Decision> try_action(StallAction action, bool others)
    {
        switch (action) {
        case StallAction::Slow: return slow(others);
        case StallAction::Wait: return wait(others);
        case StallAction::Postcopy:
            if (!stats_.can_postcopy || stats_.rounds.empty())
                return std::nullopt;
            decision_.predicted_downtime_s = stats_.handover_s;
            decision_.predicted_total_s =
                stats_.elapsed_s + stats_.handover_s + left_ / std::max(link_.pages_s(), 1.0);
            return finish(Decision::Action::Postcopy, "rounds do not bring it down", "post-copy");
        case StallAction::Switch:
            if (stats_.rounds.empty() || !is_good_moment())
                return std::nullopt;
            return switch_over(is_last_chance() ? "the deadline is here"
                                                : "rounds do not bring it further down");
        case StallAction::Abort:
            if (stats_.rounds.empty())
                return std::nullopt;
            return finish(Decision::Action::Abort, "rounds do not bring it down", "give up");
        }
        return std::nullopt;
    }

    std::optional<Decision> slow(bool others)
    {
        if (!stats_.can_slow || wish_.max_slowdown <= 0)
            return std::nullopt;
        double slowdown = stats_.slowdown;
        if (slowdown == 0 || has_stalled(doubtful_rounds))
            slowdown += slowdown_step; // it was not enough
        for (;; slowdown += slowdown_step) {
            slowdown = std::min(slowdown, wish_.max_slowdown);
            if (const auto plan = plan_with(slowdown))
                return in_steps(slowdown) == slowdown ? follow(*plan, slowdown)
                                                      : another_step(in_steps(slowdown));
            if (slowdown == wish_.max_slowdown)
                break;
        }
        // Post-copy gains nothing by a slow-down that does not do.
        if (postcopy_follows())
            return std::nullopt;
        // The full slow-down is not enough by the model; it is tried all the same while there is
        // time, since models err, and what comes after gains by it.
        if (time_left_ < decision_.predicted_downtime_s ||
            (others && has_stalled(patient_rounds) &&
             in_steps(wish_.max_slowdown) == wish_.max_slowdown))
            return std::nullopt;
        if (in_steps(wish_.max_slowdown) != wish_.max_slowdown)
            return another_step(in_steps(wish_.max_slowdown));
        return another_round(wish_.max_slowdown,
                             "slowing the guest by all of " + percent(wish_.max_slowdown));
    }

    /// This slow-down, or what the user's own steps permit of it after the one in force.
    [[nodiscard]] double in_steps(double slowdown) const
    {
        if (stats_.slowdown == 0)
            return std::min(wish_.first_slowdown.value_or(slowdown), wish_.max_slowdown);
        if (!wish_.slowdown_increment)
            return slowdown;
        return std::min(slowdown, stats_.slowdown + *wish_.slowdown_increment);
    }

    Decision another_step(double slowdown)
    {
        return another_round(slowdown, "the guest slowed by " + percent(slowdown) +
                                           ", the step that cpu-throttle-* set");
    }

    std::optional<Decision> wait(bool others)
    {
        if (stats_.slowdown > 0 && wants_slow_after_wait())
            return std::nullopt; // the waiting is over
        if (!others)
            return another_round(stats_.slowdown, "waiting for the guest to write less");
        const bool patient = wish_.deadline_s ? time_left_ > 2 * decision_.predicted_downtime_s + 1
                                              : !has_stalled(patient_rounds);
        if (!patient)
            return std::nullopt;
        return another_round(stats_.slowdown, "waiting for the guest to write less");
    }

    [[nodiscard]] bool postcopy_follows() const
    {
        const auto& list = wish_.on_stall;
        return stats_.can_postcopy && !stats_.rounds.empty() &&
               std::find(list.begin(), list.end(), StallAction::Postcopy) != list.end();
    }

    [[nodiscard]] bool wants_slow_after_wait() const
    {
        const auto& list = wish_.on_stall;
        const auto wait = std::find(list.begin(), list.end(), StallAction::Wait);
        return std::find(wait, list.end(), StallAction::Slow) != list.end();
    }

    /// So many rounds in a row have not left a tenth less than was left before.
    [[nodiscard]] bool has_stalled(unsigned rounds) const
    {
        double least = forever;
        unsigned without_gain = 0;
        const size_t count = stats_.rounds.size();
        for (size_t i = count > 4 * patient_rounds ? count - 4 * patient_rounds : 0; i < count;
             ++i) {
            const auto left = static_cast<double>(stats_.rounds[i].pages_dirty);
            without_gain = left < gain_factor * least ? 0 : without_gain + 1;
            least = std::min(least, left);
        }
        return without_gain >= rounds;
    }

    [[nodiscard]] bool is_good_moment() const
    {
        if (is_last_chance())
            return true;
        double least = forever;
        const size_t count = stats_.rounds.size();
        for (size_t i = count > recent_rounds ? count - recent_rounds : 0; i < count; ++i)
            least = std::min(least, static_cast<double>(stats_.rounds[i].pages_dirty));
        return left_ <= good_moment * least;
    }

    const MigrationWish& wish_;
    const MigrationStats& stats_;
    DirtyModel dirty_;
    LinkModel link_;
    double left_;
    double time_left_;
    Decision decision_;
};

} // namespace

Decision ConvergePolicy::decide(const MigrationWish& wish, const MigrationStats& stats) const
{
    return Judgement(wish, stats).decide();
}

} // namespace drover
