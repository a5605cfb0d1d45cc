// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/session/source.h"

#include <algorithm>
#include <utility>

namespace drover {

namespace {

constexpr std::chrono::milliseconds last_words_limit(100);
/// The policy looks no further back.
constexpr size_t told_rounds = 64;
constexpr size_t kept_decisions = 1000;
constexpr std::chrono::milliseconds waiting_pause(20);

} // namespace

void SourceSession::start_round(RamSender::Round kind)
{
    round_started_ = Clock::now();
    broken_s_ = 0;
    round_under_way_ = true;
    round_sent_.reset();
    const unsigned round = static_cast<unsigned>(report_.rounds.size()) + 1;
    if (kind == RamSender::Round::Last) {
        tells_missing_ = may_postcopy();
        sender_->start_last_round(round, last_round_budget());
    } else
        sender_->start_round(round, kind,
                             report_.decision.leave_hot && kind == RamSender::Round::Live);
}

void SourceSession::round_sent(Result<RoundStats> stats)
{
    const bool broken =
        state_ == SourceState::Reconnecting && !stats &&
        (stats.error().kind == ErrorKind::Connection || stats.error().kind == ErrorKind::Cancelled);
    if (broken) // that is why
        return;
    if (!stats && is_before_commit(state_))
        return sending_failed(std::move(stats.error()));
    if (!stats || !round_under_way_)
        return;
    round_sent_ = *stats;
    complete_round();
}

/// A destination that gives up closes its data connections, and says why on the control connection:
/// the one may be noticed before the other. Its words are worth the moment that they take.
void SourceSession::sending_failed(Error error)
{
    if (error.kind != ErrorKind::Connection)
        return fail(std::move(error));
    last_words_timer_ = loop::after(last_words_limit, [this, error = std::move(error)] {
        if (can_reconnect(error))
            reconnect(error);
        else if (is_before_commit(state_))
            fail(error);
    });
}

void SourceSession::round_acknowledged(const stream::Frame& frame)
{
    const auto end = stream::decode_round_end(frame.payload);
    const size_t started = report_.rounds.size() + (round_under_way_ ? 1 : 0);
    if (!end || end->round != acked_round_ + 1 || end->round > started)
        return protocol_error(frame);
    acked_round_ = end->round;
    if (round_under_way_ && end->round == started)
        acked_s_ = seconds_since(round_started_);
    complete_round();
}

/// While the guest runs, a round counts as done when the destination has it: only then are the
/// buffers on the way empty, so that what the next round takes can be foretold; and what is left is
/// counted only then. In the pause nothing is waited for: Ready says more.
void SourceSession::complete_round()
{
    if (!round_sent_ || round_counting_ || state_ == SourceState::Reconnecting)
        return;
    const bool acknowledged = acked_round_ == round_sent_->round;
    if (acknowledged)
        round_sent_->seconds = std::max(round_sent_->seconds, acked_s_);
    if (state_ == SourceState::Copying && acknowledged) {
        round_counting_ = true;
        sender_->count_dirty();
    } else if (state_ == SourceState::Switching && acknowledged) {
        end_round();
        next_switching_round();
    } else if (state_ != SourceState::Copying && state_ != SourceState::Switching) {
        end_round();
        last_round_sent_ = report_.rounds.back().guest_paused;
        if (last_round_sent_) {
            serve_pages();
            check_all_sent();
            if (ready_ && is_blackout(state_))
                commit();
        } else if (state_ == SourceState::Paused)
            next_paused_round();
    }
}

void SourceSession::dirty_counted(Result<RamSender::DirtyCount> left)
{
    round_counting_ = false;
    if (state_ != SourceState::Copying)
        return;
    if (!left)
        return fail(std::move(left.error()));
    end_round();
    report_.rounds.back().pages_dirty = left->pages;
    report_.rounds.back().page_bytes = left->page_bytes;
    decide();
}

void SourceSession::end_round()
{
    RoundStats stats = *std::exchange(round_sent_, std::nullopt);
    round_under_way_ = false;
    stats.broken_s = broken_s_;
    stats.slowdown = report_.slowdown;
    // Nobody counts while the switchover is under way: the next round tells what the one before
    // had left.
    if (state_ != SourceState::Copying && !report_.rounds.empty())
        report_.rounds.back().pages_dirty = stats.pages_sent + stats.pages_zero;
    report_.rounds.push_back(stats);
}

void SourceSession::decide()
{
    MigrationStats stats;
    const size_t forgotten =
        report_.rounds.size() > told_rounds ? report_.rounds.size() - told_rounds : 0;
    stats.rounds.assign(report_.rounds.begin() + static_cast<ptrdiff_t>(forgotten),
                        report_.rounds.end());
    stats.pages_total = report_.rounds.front().pages_sent + report_.rounds.front().pages_zero;
    stats.elapsed_s = seconds_since(started_);
    stats.handover_s = usual_handover_s;
    stats.slowdown = report_.slowdown;
    stats.can_postcopy = postcopy_agreed_;
    stats.can_slow = options_.wish.max_slowdown > 0 && machine_.can_slow().has_value();
    report_.decision = policy_.decide(options_.wish, stats);
    if (postcopy_wanted_) {
        report_.decision.action = Decision::Action::Postcopy;
        report_.decision.reason = "the user asked for post-copy: post-copy";
    }
    report_.decisions.push_back(report_.decision);
    if (report_.decisions.size() > kept_decisions)
        report_.decisions.erase(report_.decisions.begin() + kept_decisions / 2);
    set_slowdown(report_.decision.slowdown, report_.decision.write_rate);
    observer_.decided(report_.decision);
    if (state_ == SourceState::Copying) // else the observer has given up
        act(report_.decision);
}

void SourceSession::act(const Decision& decision)
{
    switch (decision.action) {
    case Decision::Action::NextRound: return start_next_round();
    case Decision::Action::SwitchOver: return begin_switchover();
    case Decision::Action::Postcopy: postcopy_decided_ = true; return begin_switchover();
    case Decision::Action::Abort: break;
    }
    fail({ErrorKind::Refused, "the migration policy gave up: " + decision.reason,
          "permit more by migrate-set-policy: a longer downtime or deadline, or another on-stall"});
}

/// Where very many short rounds were made, there is no hurry: who waits for a guest to calm down
/// must not keep a processor busy with that.
void SourceSession::start_next_round()
{
    if (report_.rounds.size() < told_rounds ||
        report_.rounds.back().seconds > Duration(waiting_pause).count())
        return start_round(RamSender::Round::Live);
    next_round_timer_ = loop::after(waiting_pause, [this] {
        if (state_ == SourceState::Copying)
            start_round(RamSender::Round::Live);
    });
}

/// While it is slowed the machine is told each time: what a slowed guest writes changes.
void SourceSession::set_slowdown(double slowdown, double write_rate)
{
    if (slowdown == 0 && report_.slowdown == 0)
        return;
    const Status slowed = machine_.slow_down(
        {.part = slowdown, .most = options_.wish.max_slowdown, .writes_s = write_rate});
    report_.slowdown = slowed ? slowdown : 0;
    report_.worst_slowdown = std::max(report_.worst_slowdown, report_.slowdown);
    if (const std::string_view way = machine_.slowed_by(); !way.empty())
        report_.slowed_by = way;
}

} // namespace drover
