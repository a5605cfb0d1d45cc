// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/session/source.h"

#include "util/defect.h"
#include "util/log.h"
#include "util/sync_point.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace drover {

using stream::FrameType;

namespace {

std::chrono::milliseconds silence_limit(SourceState state, bool can_reconnect)
{
    if (is_blackout(state) || state == SourceState::Committing)
        return blackout_silence;
    if (is_postcopy(state))
        return postcopy_silence;
    return state == SourceState::Copying && can_reconnect ? longest_patience : patient_silence;
}

} // namespace

SourceSession::SourceSession(Machine& machine, const Policy& policy, SourceOptions options,
                             SourceObserver observer)
    : machine_(machine), policy_(policy), options_(std::move(options)),
      observer_(std::move(observer))
{
    limit_.set_rate(options_.max_bandwidth);
}

SourceSession::~SourceSession()
{
    *alive_ = false;
    retire_sender();
    if (reaper_.joinable())
        reaper_.join();
}

/// Never joins the sender's threads on the loop thread, where the monitors would wait for whatever
/// holds them up.
void SourceSession::retire_sender()
{
    if (!sender_)
        return;
    sender_->give_up();
    report_.encodings = encodings();
    retiring_ = true;
    reaper_ = std::thread([this, alive = alive_, sender = std::move(sender_)]() mutable {
        defects::contain([&] { sender.reset(); });
        loop::post([this, alive = std::move(alive)] {
            if (*alive)
                sender_retired();
        });
    });
}

void SourceSession::sender_retired()
{
    retiring_ = false;
    if (unwound_)
        ended_unwinding(*std::exchange(unwound_, std::nullopt));
}

double SourceSession::elapsed_s() const
{
    return is_final(state_) ? report_.total_s : seconds_since(started_);
}

const SendProgress* SourceSession::progress() const
{
    return sender_ ? &sender_->progress() : nullptr;
}

EncodingTotals SourceSession::encodings() const
{
    return sender_ ? sender_->progress().encodings.totals() : report_.encodings;
}

void SourceSession::set_max_bandwidth(uint64_t bytes_per_second, uint64_t in_postcopy)
{
    options_.max_bandwidth = bytes_per_second;
    options_.max_postcopy_bandwidth = in_postcopy;
    limit_.set_rate(bytes_per_second);
    if (server_)
        server_->set_rate(in_postcopy);
}

void SourceSession::set_wish(const MigrationWish& wish)
{
    const bool may_slow = options_.wish.max_slowdown == 0 && wish.max_slowdown > 0;
    options_.wish = wish;
    if (may_slow)
        machine_.observe();
    set_slowdown(std::min(report_.slowdown, wish.max_slowdown), report_.decision.write_rate);
}

void SourceSession::enter(SourceState next)
{
    require(may_follow(state_, next), "that the source's state may follow the one before");
    log::debug("source: " + std::string(to_string(state_)) + " → " + std::string(to_string(next)));
    state_ = next;
    sync_point("source", to_string(next));
    control_.set_silence_limit(silence_limit(next, resume_agreed_));
    if (is_final(next))
        report_.total_s = seconds_since(started_);
    observer_.state_changed(next);
}

void SourceSession::handle(const stream::Frame& frame)
{
    if (control_.handled_by_watch(frame))
        return;
    switch (frame.header.type) {
    case FrameType::Welcome:
        if (state_ == SourceState::Greeting)
            return welcomed(frame);
        break;
    case FrameType::RoundAck:
        if (state_ >= SourceState::Copying && state_ < SourceState::Committing &&
            state_ != SourceState::Reconnecting)
            return round_acknowledged(frame);
        break;
    case FrameType::ResumePoint:
        if (state_ == SourceState::Reconnecting && !point_)
            return point_told(frame);
        break;
    case FrameType::Ready:
        if (is_blackout(state_) && device_saved_)
            return destination_ready();
        break;
    case FrameType::Running:
    case FrameType::Arrived:
        if (state_ == SourceState::Completed)
            return has_run_there();
        if (state_ != SourceState::Committing)
            break;
        report_.arrived_paused = frame.header.type == FrameType::Arrived;
        return guest_runs_there();
    case FrameType::PageRequest:
    case FrameType::PagesPlaced:
    case FrameType::AllHere:
    case FrameType::Missing:
    case FrameType::MissingEnd:
        if (Status taken = handle_postcopy(frame); !taken)
            control_closed(std::move(taken.error()));
        return;
    case FrameType::Refuse:
    case FrameType::Abort: {
        auto json = stream::decode_json(frame.payload);
        Error error = json ? stream::error_from_json(*json) : json.error();
        if (is_postcopy(state_))
            return guest_died_there(std::move(error));
        if (state_ == SourceState::Completed && taking_back_)
            return taken_back({});
        return fail(std::move(error).in("the destination"));
    }
    default: break;
    }
    protocol_error(frame);
}

void SourceSession::protocol_error(const stream::Frame& frame)
{
    Error error{ErrorKind::Protocol,
                std::string("the destination sent ") + stream::frame_name(frame.header.type) +
                    " while the source was " + std::string(to_string(state_)),
                "are both sides of the same release?"};
    if (is_before_commit(state_))
        fail(std::move(error));
    else
        control_closed(std::move(error));
}

void SourceSession::control_closed(Error error)
{
    control_.unwatch();
    if (state_ == SourceState::Committing)
        ask(error);
    else if (is_postcopy(state_))
        pause_postcopy(error);
    else if (can_reconnect(error))
        reconnect(error);
    else if (is_before_commit(state_))
        fail(std::move(error));
    else if (state_ == SourceState::Completed) {
        word_may_be_lost_ = !control_->ended_in_order();
        link_ended();
    }
}

Status SourceSession::give_up(Error reason)
{
    if (!is_before_commit(state_))
        return drover::fail(ErrorKind::Refused,
                            state_ == SourceState::Unwinding || state_ == SourceState::Failed
                                ? "the migration is being given up already"
                                : "the guest was already given to the destination");
    fail(std::move(reason));
    return {};
}

/// The one way out before the commit, and after it on the destination's word. The guest comes
/// first: whatever else is to be tidied up waits until it has been told to run.
void SourceSession::fail(Error error)
{
    if (state_ == SourceState::Unwinding || is_final(state_))
        return;
    report_.error = error;
    report_.given_up_in = state_;
    tell_later_ = tell_later_ || state_ == SourceState::Reconnecting ||
                  (may_be_awaited_ && error.kind == ErrorKind::Connection);
    // At once, not with the rest below: an answer that is read before it must not commit.
    if (asker_)
        asker_->disarm();
    enter(SourceState::Unwinding);
    // Never from within the machine's, the sender's or the connection's own callback.
    loop::post([this, alive = alive_] {
        if (*alive)
            unwind();
    });
}

void SourceSession::unwind()
{
    next_round_timer_.reset();
    switchover_timer_.reset();
    call_timer_.reset();
    give_up_timer_.reset();
    if (saving_)
        machine_.abandon_save([this, alive = alive_](Status status) {
            if (*alive)
                ended_unwinding(std::move(status));
        });
    set_slowdown(0);
    if (control_) {
        control_->send_json(FrameType::Abort, stream::error_to_json(*report_.error));
        report_.control_bytes = control_->bytes_sent();
        control_.close_gracefully();
    }
    connecting_.reset();
    channels_connecting_.clear();
    asker_.reset();
    server_.reset();
    retire_sender();
    channels_.clear();
    if (!saving_)
        ended_unwinding({});
}

void SourceSession::ended_unwinding(Status status)
{
    if (retiring_) { // another migration would use the same tracker
        unwound_ = std::move(status);
        return;
    }
    if (!status)
        report_.error->message += "; and then: " + status.error().message;
    // The link broke when the destination may have been Ready, or awaits the rest of the copy: it
    // must not wait for us in vain.
    if (tell_later_) {
        asker_ = std::make_unique<CommitAsker>(
            ask_peer_, hello_.session, CommitAsker::Purpose::TakeBack, [](stream::Outcome) {});
        // It waits without end only where it may be Ready.
        if (report_.given_up_in < SourceState::Switching)
            asker_->give_up_after(
                std::chrono::milliseconds(std::llround(options_.wish.reconnect_s * 1e3)));
    }
    enter(SourceState::Failed);
}

void SourceSession::complete()
{
    if (!report_.postcopy)
        report_.downtime_s = seconds_since(paused_at_);
    if (control_)
        report_.control_bytes = control_->bytes_sent();
    switchover_timer_.reset();
    control_.unwatch();
    set_slowdown(0);
    enter(SourceState::Completed);
    loop::post([this, alive = alive_] { // not from within the connection's callback
        if (!*alive)
            return;
        asker_.reset();
        server_.reset();
        retire_sender();
        if (control_ && report_.arrived_paused && give_back_agreed_)
            keep_link();
        else if (control_)
            control_.close_gracefully();
    });
}

Status SourceSession::resolve(bool guest_is_here)
{
    if (state_ == SourceState::PostcopyPaused && !guest_is_here) {
        complete();
        return {};
    }
    if (state_ == SourceState::PostcopyPaused)
        return drover::fail(ErrorKind::Refused,
                            "the guest has run at its destination: what is here is out of date",
                            "restore the link, or say guest-is-here=false to give up the rest of "
                            "its memory");
    if (state_ == SourceState::Completed && report_.arrived_paused && guest_is_here) {
        if (control_)
            return drover::fail(ErrorKind::Refused,
                                "the destination, where the guest stands paused, can be asked",
                                "cont does that");
        give_back_agreed_ = false; // nobody is asked any more
        return {};
    }
    if (state_ != SourceState::Asking)
        return drover::fail(ErrorKind::Refused, "there is nothing to resolve: the migration is " +
                                                    std::string(to_string(state_)));
    // The operator's word stands in for the destination's, never against it.
    if (asker_ && asker_->reaches_peer())
        return drover::fail(ErrorKind::Refused,
                            "the destination answers, and is about to say whose the guest is",
                            "wait; or end the destination first");
    if (guest_is_here) {
        tell_later_ = true; // it may be Ready, and wait for ever
        fail({ErrorKind::Connection,
              "the link broke at the switchover, and the operator took the guest back", ""});
    } else
        complete();
    return {};
}

std::unique_ptr<CommitAsker> SourceSession::take_teller()
{
    return state_ == SourceState::Failed && asker_ && !asker_->finished() ? std::move(asker_)
                                                                          : nullptr;
}

} // namespace drover
