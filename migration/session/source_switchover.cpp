// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/session/source.h"

#include "util/log.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace drover {

using stream::FrameType;

namespace {

/// While the hypervisor gets ready to pause, rounds keep the rest small, but not back to back: the
/// guest and the hypervisor need the processor more.
constexpr std::chrono::milliseconds switching_pause{4};

/// A destination that answers pings but never becomes ready must not keep the guest paused. But a
/// pause as long as was wished, or foretold and decided on, is no fault.
constexpr double least_switchover_limit_s = 10;
constexpr double patience = 3;

constexpr size_t device_piece = stream::max_device_payload;

} // namespace

double switchover_limit_s(double wished_s, double foretold_s)
{
    return std::max(least_switchover_limit_s, patience * std::max(wished_s, foretold_s));
}

void SourceSession::begin_switchover()
{
    report_.switchover_s = seconds_since(started_);
    enter(SourceState::Switching);
    control_->send_json(FrameType::DeviceHeader, Json{{"phase", "running"}});
    saving_ = true;
    // The machine keeps them, and may outlive us.
    machine_.begin_save({
        .paused =
            [this, alive = alive_](bool ran) {
                if (*alive)
                    guest_paused(ran);
            },
        .data =
            [this, alive = alive_](std::span<const std::byte> data) {
                if (*alive)
                    device_data(data);
            },
        .saved =
            [this, alive = alive_] {
                if (*alive)
                    device_saved();
            },
        .failed =
            [this, alive = alive_](Error error) {
                if (*alive && is_before_commit(state_))
                    fail(std::move(error));
            },
    });
    if (!postcopy_decided_)
        next_switching_round();
}

void SourceSession::next_switching_round()
{
    next_round_timer_ = loop::after(switching_pause, [this] {
        if (state_ == SourceState::Switching && !round_under_way_)
            start_round(RamSender::Round::Switching);
    });
}

void SourceSession::guest_paused(bool ran)
{
    if (state_ != SourceState::Switching)
        return;
    paused_at_ = Clock::now();
    report_.paused_s = seconds_since(started_);
    next_round_timer_.reset();
    awaits_continue_ = options_.pause_before_switchover;
    enter(SourceState::Paused);
    control_->send_json(FrameType::DeviceHeader, Json{{"phase", "paused"}, {"run", ran}});
    guest_ran_ = ran;
    sender_->hurry();
    if (round_under_way_)
        complete_round(); // its acknowledgement is not waited for any more
    else
        next_paused_round();
    if (!awaits_continue_)
        save_rest();
    // Not before the pause: a guest let go makes up for what it could not write. And after all that
    // the pause waits for.
    set_slowdown(0);
}

/// While migrate-continue is awaited guest RAM may still change: the user may reset the guest, a
/// block job's end may tell it something. So the last collection comes after that, and what is
/// written until then is sent by one round in between, to be little.
void SourceSession::next_paused_round()
{
    if (!awaits_continue_)
        return start_round(RamSender::Round::Last);
    if (!std::exchange(caught_up_, true))
        start_round(RamSender::Round::Switching);
}

Status SourceSession::continue_switchover()
{
    if (!awaits_continue_ || state_ != SourceState::Paused)
        return drover::fail(ErrorKind::Refused, "the migration is not in pre-switchover");
    awaits_continue_ = false;
    observer_.state_changed(state_); // as QEMU: from pre-switchover to device
    if (round_under_way_)
        sender_->hurry(); // the last one follows
    else
        next_paused_round();
    save_rest();
    return {};
}

/// How long the destination may take from here on. Nobody waits for a guest that was paused anyway,
/// but for its user, who can cancel.
void SourceSession::save_rest()
{
    if (guest_ran_) {
        const double limit_s =
            switchover_limit_s(options_.wish.downtime_s, report_.decision.predicted_downtime_s);
        switchover_timer_ =
            loop::after(std::chrono::milliseconds(std::llround(limit_s * 1e3)), [this, limit_s] {
                if (is_before_commit(state_))
                    fail({ErrorKind::Machine,
                          "the destination did not become ready within " +
                              std::to_string(std::lround(limit_s)) + " s",
                          "look at the destination's log"});
            });
    }
    machine_.finish_save();
}

void SourceSession::device_data(std::span<const std::byte> data)
{
    if (!control_ || !is_before_commit(state_))
        return;
    checksum_.add(data);
    report_.device_bytes += data.size();
    while (!data.empty()) {
        const auto piece = data.first(std::min(data.size(), device_piece));
        control_->send(FrameType::DeviceData, piece);
        data = data.subspan(piece.size());
    }
    if (control_->too_long())
        machine_.hold_data(true); // until the connection has drained
}

void SourceSession::device_saved()
{
    if (state_ != SourceState::Paused)
        return;
    device_saved_ = true;
    control_->send(FrameType::DeviceEnd,
                   stream::encode(stream::DeviceEnd{report_.device_bytes, checksum_.digest()}));
    check_all_sent();
}

void SourceSession::check_all_sent()
{
    if (state_ == SourceState::Paused && device_saved_ && last_round_sent_)
        enter(SourceState::Loading);
}

/// The destination may be ready before we have noticed that the last round was sent: what it lacks
/// is known only then.
void SourceSession::destination_ready()
{
    ready_ = true;
    if (last_round_sent_)
        commit();
}

/// The point of no return. From here on the guest is not ours, whatever happens: only the
/// destination can say that it does not want it.
void SourceSession::commit()
{
    switchover_timer_.reset();
    enter(SourceState::Committing);
    control_->send(FrameType::Commit);
}

void SourceSession::ask(const Error& why)
{
    log::warning("the link broke at the switchover: " + why.text() +
                 "; asking the destination what became of the guest, which stays paused here");
    report_.error = why;
    enter(SourceState::Asking);
    call_destination(SourceState::Asking);
}

/// Until it answers, or we are not in this state any more.
void SourceSession::call_destination(SourceState state)
{
    if (server_)
        server_->detach();
    loop::post([this, alive = alive_, state] { // not from within the connection's callback
        if (!*alive || state_ != state)
            return;
        control_.reset();
        asker_.reset();
        if (paused_by_user_)
            return;
        asker_ = std::make_unique<CommitAsker>(
            ask_peer_, hello_.session,
            server_ ? CommitAsker::Purpose::Postcopy : CommitAsker::Purpose::Commit,
            [this](stream::Outcome outcome) { answered(outcome); });
        if (server_ && state == SourceState::Asking)
            asker_->on_page_request(
                [this](const stream::PageRequest& request, stream::FrameConnection& connection) {
                    return server_->request_over(connection, request);
                });
    });
}

/// False if it broke at once.
bool SourceSession::take_askers_connection()
{
    control_ = asker_->take_connection();
    asker_.reset();
    if (!control_)
        return false;
    control_->set_callbacks({
        .frame = [this](const stream::Frame& frame) { handle(frame); },
        .closed = [this](Error error) { control_closed(std::move(error)); },
        .drained = [this] { machine_.hold_data(false); },
    });
    control_.watch([this](Error error) { control_closed(std::move(error)); });
    return true;
}

void SourceSession::answered(stream::Outcome outcome)
{
    if (state_ == SourceState::Reconnecting) {
        if (outcome == stream::Outcome::Receiving)
            return link_is_back();
        return fail({ErrorKind::Connection, "the destination gave up while the link was broken",
                     "look at its log"});
    }
    if (state_ == SourceState::Completed) {
        if (outcome == stream::Outcome::NotReady) // it has given the guest back
            return taken_back({});
        if (outcome == stream::Outcome::Unknown) // another process: the one that had it is gone
            return destination_unreachable(
                {ErrorKind::Connection, "another process answers there: Connection refused", ""});
        return has_run_there();
    }
    if (state_ != SourceState::Asking && state_ != SourceState::PostcopyPaused)
        return;
    switch (outcome) {
    case stream::Outcome::Arrived:
        report_.arrived_paused = true;
        word_may_be_lost_ = true; // that it was run there: no link is left that would tell
        [[fallthrough]];
    case stream::Outcome::Committed:
        report_.error.reset();
        complete();
        break;
    case stream::Outcome::Postcopy: resume_postcopy(); break;
    case stream::Outcome::NotReady:
        if (state_ == SourceState::PostcopyPaused)
            break;
        fail({ErrorKind::Connection,
              "the link broke at the switchover, and the destination gave up",
              "look at the destination's log"});
        break;
    case stream::Outcome::Ready:     // it has just been sent Commit
    case stream::Outcome::Receiving: // it cannot be: Commit follows Ready
        break;
    case stream::Outcome::Unknown:
        // Another process answers there: the one that had the guest may have run it, and is gone.
        log::warning("nobody at the destination knows this migration any more; the guest stays "
                     "paused here until migrate-resolve says whose it is");
        break;
    }
}

} // namespace drover
