// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/session/destination.h"

#include "migration/session/compatibility.h"
#include "util/defect.h"
#include "util/log.h"
#include "util/sync_point.h"

namespace drover {

using stream::FrameType;

namespace {

constexpr std::chrono::seconds hello_time{10};

Error frame_out_of_place(const stream::Frame& frame, DestinationState state)
{
    return {ErrorKind::Protocol,
            std::string("the source sent ") + stream::frame_name(frame.header.type) +
                " while the destination was " + std::string(to_string(state)),
            "are both sides of the same release?"};
}

} // namespace

DestinationSession::DestinationSession(Machine& machine, Socket control, std::string peer,
                                       std::string software, DestinationObserver observer)
    : machine_(machine), software_(std::move(software)), observer_(std::move(observer))
{
    report_.source = std::move(peer);
    control_ = std::make_unique<stream::FrameConnection>(
        std::move(control), stream::ConnectionRole::Control, false, false,
        stream::FrameConnection::Callbacks{
            .frame = [this](const stream::Frame& frame) { handle(frame); },
            .closed = [this](Error error) { control_closed(std::move(error)); },
        });
    control_->expect_only(
        {FrameType::Hello, FrameType::Ping, FrameType::Pong, FrameType::Refuse, FrameType::Abort});
    control_.watch([this](Error error) { control_closed(std::move(error)); });
    hello_timer_ = loop::after(hello_time, [this] {
        if (state_ == DestinationState::Greeting && !hello_)
            refuse({ErrorKind::Protocol, "no Hello came within 10 s", "is it a Drover?"});
    });
}

DestinationSession::~DestinationSession()
{
    *alive_ = false;
}

double DestinationSession::elapsed_s() const
{
    return is_final(state_) ? report_.total_s : seconds_since(started_);
}

void DestinationSession::enter(DestinationState next)
{
    require(may_follow(state_, next), "that the destination's state may follow the one before");
    log::debug("destination: " + std::string(to_string(state_)) + " → " +
               std::string(to_string(next)));
    state_ = next;
    sync_point("destination", to_string(next));
    if (is_final(next))
        report_.total_s = seconds_since(started_);
    observer_.state_changed(next);
}

void DestinationSession::handle(const stream::Frame& frame)
{
    if (control_.handled_by_watch(frame))
        return;
    const bool taking_state =
        state_ == DestinationState::Receiving || state_ == DestinationState::Holding;
    switch (frame.header.type) {
    case FrameType::Hello:
        if (state_ == DestinationState::Greeting && !hello_)
            return greeted(frame);
        break;
    case FrameType::DeviceHeader:
        if (state_ == DestinationState::Receiving)
            return device_header(frame);
        break;
    case FrameType::DeviceData:
        if (taking_state && !device_complete_)
            return device_data(frame);
        break;
    case FrameType::DeviceEnd:
        if (state_ == DestinationState::Holding && !device_complete_)
            return device_end(frame);
        break;
    case FrameType::Pages:
        if (fetcher_)
            return page_data(frame);
        break;
    case FrameType::Commit:
        if (state_ == DestinationState::Ready)
            return commit([this](FrameType answer) {
                if (control_)
                    this->answer(*control_, answer);
            });
        break;
    case FrameType::Refuse:
    case FrameType::Abort: {
        auto json = stream::decode_json(frame.payload);
        Error error = json ? stream::error_from_json(*json) : json.error();
        if (state_ == DestinationState::Completed)
            return give_back([this](FrameType answer) {
                if (control_)
                    this->answer(*control_, answer);
            });
        return fail(std::move(error).in("the source gave up"));
    }
    default: break;
    }
    protocol_error(frame);
}

void DestinationSession::protocol_error(const stream::Frame& frame)
{
    if (is_postcopy(state_))
        return control_closed(frame_out_of_place(frame, state_));
    fail(frame_out_of_place(frame, state_));
}

void DestinationSession::control_closed(Error error)
{
    control_.unwatch();
    // Not from within the connection's callback; by then a new one may have taken its place.
    loop::post([this, alive = alive_, closed = control_.get()] {
        if (*alive && control_.get() == closed &&
            (state_ == DestinationState::Reconnecting || state_ == DestinationState::Ready ||
             is_committed(state_)))
            control_.reset();
        if (*alive && state_ == DestinationState::Ready)
            sync_point("destination", "asking");
    });
    if (state_ == DestinationState::Ready) {
        report_.error = error;
        log::warning("the link broke at the switchover: " + error.text() +
                     "; the guest stays paused here until the source says whose it is");
    } else if (state_ == DestinationState::Postcopy) {
        pause_postcopy(error);
    } else if (state_ == DestinationState::Greeting) {
        refuse(error);
    } else if (can_reconnect(error)) {
        await_source(error);
    } else if (!is_committed(state_)) {
        fail(std::move(error).in("the link to the source broke"));
    }
}

void DestinationSession::give_up(Error error)
{
    if (state_ < DestinationState::Ready)
        fail(std::move(error));
}

void DestinationSession::fail(Error error)
{
    if (is_final(state_) || is_committed(state_))
        return;
    if (state_ == DestinationState::Greeting) // nothing has begun: another source may come
        return refuse(error);
    report_.error = error;
    enter(DestinationState::Failed);
    loop::post([this, alive = alive_] { // not from within a callback of what is destroyed here
        if (!*alive)
            return;
        receiver_.reset();
        if (control_) {
            control_->send_json(FrameType::Abort, stream::error_to_json(*report_.error));
            control_.close_gracefully();
        }
    });
}

void DestinationSession::asked(const stream::SessionToken& token,
                               std::function<void(stream::Outcome)> done, AskForPages pages)
{
    using stream::Outcome;
    if (!hello_ || hello_->session != token)
        return done(Outcome::Unknown);
    if (state_ == DestinationState::TakingOver) { // it may still fail: then the source has it back
        taken_over_.push_back([this, done = std::move(done)] {
            done(is_postcopy(state_)    ? Outcome::Postcopy
                 : is_committed(state_) ? committed_outcome()
                                        : Outcome::NotReady);
        });
        // The source has called again: the old link is dead, even if we had not noticed.
        control_.reset();
        return ask_by(std::move(pages));
    }
    if (is_postcopy(state_) && !died_) {
        if (state_ == DestinationState::Postcopy) // the source has noticed it before us
            control_closed({ErrorKind::Connection, "the source calls anew", ""});
        return done(Outcome::Postcopy);
    }
    if (is_committed(state_))
        return done(committed_outcome());
    if (state_ == DestinationState::Ready) {
        // The source has called again: the old link is dead, even if we had not noticed.
        control_.reset();
        return done(Outcome::Ready);
    }
    if (state_ == DestinationState::Receiving && resume_agreed_ && !switching_)
        control_closed({ErrorKind::Connection, "the source calls anew", ""});
    if (state_ == DestinationState::Reconnecting)
        return done(Outcome::Receiving);
    // Else a source asks after its Commit only, and so after our Ready: whatever this is, it is
    // over.
    fail({ErrorKind::Protocol, "the source asked for an outcome before there could be one", ""});
    done(Outcome::NotReady);
}

stream::Outcome DestinationSession::committed_outcome() const
{
    return arrived_outcome_agreed_ && arrived_paused_ && !claimed_ ? stream::Outcome::Arrived
                                                                   : stream::Outcome::Committed;
}

void DestinationSession::answer(stream::FrameConnection& connection, FrameType type) const
{
    const Error unknown{ErrorKind::Refused, "the guest will not run here", ""};
    if (type == FrameType::Abort)
        connection.send_json(type, stream::error_to_json(report_.error.value_or(unknown)));
    else
        connection.send(type);
}

void DestinationSession::commit(std::function<void(FrameType)> done, AskForPages pages)
{
    auto reply = [this, done = std::move(done)] {
        const FrameType ours = arrived_paused_ ? FrameType::Arrived : FrameType::Running;
        done(is_committed(state_) ? ours : FrameType::Abort);
    };
    if (state_ == DestinationState::Ready || state_ == DestinationState::TakingOver)
        taken_over_.push_back(std::move(reply));
    else
        reply();
    if (state_ != DestinationState::Ready)
        return;
    enter(DestinationState::TakingOver);
    report_.error.reset();
    arrived_paused_ = !run_ || machine_.keeps_paused();
    ask_by(std::move(pages));
    machine_.take_over(run_, [this, alive = alive_](Status status) {
        if (*alive)
            took_over(std::move(status));
    });
}

void DestinationSession::took_over(Status status)
{
    if (!status) // it never ran here, and never will: the source may have it back
        report_.error = std::move(status.error()).in("the guest could not be started here");
    owes_answer_ = !status;
    ask_for_pages_ = nullptr; // a source that hears of missing pages sends Resume
    const bool lacks_pages = fetcher_ && fetcher_->missing_count() > 0;
    if (status && lacks_pages)
        enter(control_ ? DestinationState::Postcopy : DestinationState::PostcopyPaused);
    else
        enter(status ? DestinationState::Completed : DestinationState::Failed);
    if (lacks_pages)
        control_.set_silence_limit(postcopy_silence);
    for (const auto& reply : std::exchange(taken_over_, {}))
        reply();
}

Status DestinationSession::resolve(bool guest_is_here)
{
    if (state_ != DestinationState::Ready || control_)
        return drover::fail(ErrorKind::Refused, "there is nothing to resolve: the migration is " +
                                                    std::string(to_string(state_)));
    if (guest_is_here)
        commit([](FrameType) {});
    else
        fail({ErrorKind::Cancelled, "the operator said that the guest is not ours", ""});
    return {};
}

} // namespace drover
