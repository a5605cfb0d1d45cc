// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/session/source.h"

#include <algorithm>

namespace drover {

namespace {

/// Device state and round trips, before anything was measured: what a QEMU needs to save, load and
/// resume a guest on an idle host.
constexpr double usual_handover_s = 0.010;
constexpr std::chrono::milliseconds last_words_limit(100);

} // namespace

void SourceSession::start_round(bool last)
{
    round_started_ = Clock::now();
    round_under_way_ = true;
    round_last_ = last;
    round_sent_.reset();
    round_acked_s_.reset();
    sender_->start_round(static_cast<unsigned>(report_.rounds.size()) + 1, last);
}

void SourceSession::round_sent(Result<RoundStats> stats)
{
    if (!is_before_commit(state_))
        return;
    if (!stats)
        return sending_failed(std::move(stats.error()));
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
        if (is_before_commit(state_))
            fail(error);
    });
}

void SourceSession::round_acknowledged(const stream::Frame& frame)
{
    const auto end = stream::decode_round_end(frame.payload);
    if (end && last_round_sent_ && end->round == report_.rounds.size())
        return; // the last round was not waited for
    if (!end || !round_under_way_ || end->round != report_.rounds.size() + 1)
        return protocol_error(frame);
    round_acked_s_ = seconds_since(round_started_);
    complete_round();
}

/// A round counts as done when the destination has it: only then are the buffers on the way empty,
/// so that what the next round takes can be foretold.
void SourceSession::complete_round()
{
    // The last round need not wait for its acknowledgement: Ready says more.
    if (!round_sent_ || (!round_acked_s_ && !round_last_))
        return;
    round_under_way_ = false;
    RoundStats stats = *round_sent_;
    stats.seconds = std::max(stats.seconds, round_acked_s_.value_or(0));
    report_.rounds.push_back(stats);
    if (round_last_) {
        last_round_sent_ = true;
        check_all_sent();
    } else if (state_ == SourceState::Copying) {
        decide();
    } else if (state_ == SourceState::Switching) {
        next_switching_round();
    } else if (state_ == SourceState::Paused) {
        start_last_round();
    }
}

void SourceSession::decide()
{
    MigrationStats stats;
    stats.rounds = report_.rounds;
    stats.elapsed_s = seconds_since(started_);
    stats.handover_s = usual_handover_s;
    report_.decision = policy_.decide(options_.wish, stats);
    observer_.decided(report_.decision);
    if (state_ != SourceState::Copying) // the observer may have given up
        return;
    if (report_.decision.action == Decision::Action::SwitchOver)
        begin_switchover();
    else
        start_round(false);
}

} // namespace drover
