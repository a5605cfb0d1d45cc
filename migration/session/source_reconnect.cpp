// SPDX-License-Identifier: GPL-2.0-or-later
//
// The link broke while the guest was copied. The guest runs on here, and the destination keeps what
// it has: it is called until it answers and says how far it came on each data channel. What it does
// not have of what was sent is sent again, and the round goes on. All connections of a broken link
// end together: which of them still carry something is not worth knowing.
#include "migration/session/source.h"

#include "util/log.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

namespace drover {

namespace {

/// A link that carries nothing before it breaks again is called for with growing pauses.
constexpr std::chrono::milliseconds first_pause{100};
constexpr std::chrono::milliseconds longest_pause{5'000};
/// Where nobody listens for so long the destination has ended. It may be a firewall that says so
/// for a moment, or a tunnel's end that is started anew.
constexpr double refused_limit_s = 5;

std::chrono::milliseconds in_ms(double seconds)
{
    return std::chrono::milliseconds(std::llround(std::max(seconds, 0.0) * 1e3));
}

bool gives_up_at_deadline(const MigrationWish& wish)
{
    return wish.deadline_s &&
           std::ranges::find(wish.on_stall, StallAction::Abort) != wish.on_stall.end();
}

} // namespace

/// Whether the copy may go on over another link. From the switchover on it is over within a moment,
/// and what is under way then belongs to a guest that stands still: that is given up instead.
bool SourceSession::can_reconnect(const Error& error) const
{
    return resume_agreed_ && error.kind == ErrorKind::Connection &&
           (state_ == SourceState::Copying || state_ == SourceState::Reconnecting);
}

void SourceSession::reconnect(const Error& why)
{
    if (state_ == SourceState::Copying)
        link_broke(why);
    control_.unwatch();
    point_.reset();
    loop::post([this, alive = alive_] { // not from within the callback of what ends here
        if (!*alive || state_ != SourceState::Reconnecting)
            return;
        last_words_timer_.reset();
        control_.reset();
        asker_.reset();
        channels_connecting_.clear();
        channels_.clear();
        call_timer_ = loop::after(call_pause_, [this] { call_for_rest(); });
        call_pause_ = std::clamp(call_pause_ * 2, first_pause, longest_pause);
    });
}

void SourceSession::link_broke(const Error& why)
{
    log::warning("the link broke: " + why.text() +
                 "; the guest runs on, and the destination is called");
    ++report_.link_breaks;
    report_.link_error = why;
    report_.link_broken_s = seconds_since(started_);
    broken_at_ = Clock::now();
    refused_since_ = {};
    next_round_timer_.reset();
    enter(SourceState::Reconnecting);
    set_slowdown(0); // nothing is gained by it now
    sender_->abort();
    double patience_s = options_.wish.reconnect_s;
    if (gives_up_at_deadline(options_.wish))
        patience_s = std::min(patience_s, *options_.wish.deadline_s - seconds_since(started_));
    give_up_timer_ = loop::after(in_ms(patience_s), [this] {
        Error error = *report_.link_error;
        error.message = "the link to the destination was away for too long: " + error.message;
        error.hint = "the migration policy's reconnect, and its deadline, say how long it may be";
        fail(std::move(error));
    });
}

void SourceSession::call_for_rest()
{
    asker_ = std::make_unique<CommitAsker>(ask_peer_, hello_.session, CommitAsker::Purpose::GoOn,
                                           [this](stream::Outcome outcome) { answered(outcome); });
    asker_->on_unreachable([this](const Error& error) { nobody_reached(error); });
}

void SourceSession::nobody_reached(const Error& error)
{
    if (state_ != SourceState::Reconnecting || !nobody_listens(error))
        refused_since_ = {};
    else if (refused_since_ == TimePoint{})
        refused_since_ = Clock::now();
    else if (seconds_since(refused_since_) > refused_limit_s)
        fail({ErrorKind::Connection, "the destination has ended: " + error.message,
              "look at its log"});
}

/// The destination still awaits the rest: the connection on which it said so is the control
/// connection from now on.
void SourceSession::link_is_back()
{
    loop::post([this, alive = alive_] { // not from within the asker's callback
        if (!*alive || state_ != SourceState::Reconnecting || !asker_)
            return;
        if (!take_askers_connection())
            return reconnect(*report_.link_error);
        control_.set_silence_limit(longest_patience);
        control_->send(stream::FrameType::Resume);
        control_->hold_input(false);
    });
}

void SourceSession::point_told(const stream::Frame& frame)
{
    auto point = stream::decode_resume_point(frame.payload);
    if (!point)
        return fail(std::move(point.error()));
    const uint64_t carried =
        std::accumulate(point->frames.begin(), point->frames.end(), uint64_t{0});
    if (std::exchange(carried_, carried) < carried)
        call_pause_ = {};
    point_ = std::move(*point);
    connect_channels(channels_wanted_);
}

/// Once all channels are there, and the sender's workers have left the old ones.
void SourceSession::go_on_if_ready()
{
    if (state_ != SourceState::Reconnecting || !point_ || !sender_stopped_ ||
        channels_.size() != channels_wanted_)
        return;
    channels_connecting_.clear();
    const unsigned started =
        static_cast<unsigned>(report_.rounds.size()) + (round_under_way_ ? 1 : 0);
    const bool claims_what_was_not_sent =
        round_under_way_ && point_->round == started && !round_sent_;
    Status possible =
        point_->round < acked_round_ || point_->round > started || claims_what_was_not_sent
            ? drover::fail(ErrorKind::Protocol,
                           "the destination says that it has acknowledged round " +
                               std::to_string(point_->round) + " of " + std::to_string(started))
            : sender_->go_on(std::move(channels_), *point_);
    channels_.clear();
    if (!possible)
        return fail(std::move(possible.error()));
    go_on();
}

void SourceSession::go_on()
{
    const double away_s = seconds_since(broken_at_);
    char text[80];
    snprintf(text, sizeof text, "the link is back after %.1f s: the migration goes on", away_s);
    log::info(text);
    broken_s_ += away_s;
    give_up_timer_.reset();
    report_.link_error.reset();
    sender_stopped_ = false;
    round_counting_ = false; // a count that was under way has ended with the link
    const unsigned acknowledged = std::exchange(point_, std::nullopt)->round;
    enter(SourceState::Copying);
    if (!round_under_way_)
        return start_next_round();
    const unsigned round = static_cast<unsigned>(report_.rounds.size()) + 1;
    if (acknowledged < round) {
        round_sent_.reset();
        return sender_->continue_round(round, report_.decision.leave_hot);
    }
    // All of it had arrived, and only the word of that was lost.
    if (std::exchange(acked_round_, round) < round)
        acked_s_ = seconds_since(round_started_);
    complete_round();
}

} // namespace drover
