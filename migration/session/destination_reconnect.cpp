// SPDX-License-Identifier: GPL-2.0-or-later
//
// The link broke while RAM came. What is here stays, and the source, where the guest runs on,
// calls: it is told how far each data channel came, and goes on there. Device state has not begun
// to come, so that nothing else was on the way.
#include "migration/session/destination.h"
#include "migration/stream/resume.h"

#include "util/log.h"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <sys/random.h>

namespace drover {

using stream::FrameType;

namespace {
/// A source may wish for a long wait, but not for one without end: what came takes memory.
constexpr double longest_wait_s = 24 * 3600.0;
} // namespace

bool DestinationSession::can_reconnect(const Error& error) const
{
    return resume_agreed_ && error.kind == ErrorKind::Connection && !switching_ &&
           state_ == DestinationState::Receiving;
}

void DestinationSession::receiving_failed(Error error)
{
    if (can_reconnect(error))
        return control_closed(std::move(error));
    fail(std::move(error));
}

void DestinationSession::await_source(const Error& why)
{
    log::warning("the link broke: " + why.text() + "; the source is awaited");
    ++report_.link_breaks;
    report_.link_error = why;
    report_.link_broken_s = seconds_since(started_);
    to_acknowledge_.clear(); // the source ends that round once more
    enter(DestinationState::Reconnecting);
    receiver_->leave_channels();
    const double wait_s = std::clamp(reconnect_s_, 0.0, longest_wait_s);
    give_up_timer_ = loop::after(std::chrono::milliseconds(std::llround(wait_s * 1e3)), [this] {
        fail({ErrorKind::Connection,
              "the source did not come back after the link broke: " + report_.link_error->message,
              "its migration policy's reconnect says how long that may take"});
    });
}

void DestinationSession::take_connection(std::unique_ptr<stream::FrameConnection> connection)
{
    control_ = std::move(connection);
    control_->set_callbacks({
        .frame = [this](const stream::Frame& frame) { handle(frame); },
        .closed = [this](Error error) { control_closed(std::move(error)); },
    });
    control_.watch([this](Error error) { control_closed(std::move(error)); });
}

void DestinationSession::go_on(std::unique_ptr<stream::FrameConnection> connection)
{
    stream::ResumePoint point;
    if (getrandom(point.join.data(), point.join.size(), 0) !=
        static_cast<ssize_t>(point.join.size()))
        return fail(fail_errno("making a token for the data connections", errno).error());
    point.round = acknowledged_round_;
    point.frames = receiver_->go_on_after(acknowledged_round_);
    join_ = point.join;
    give_up_timer_.reset();
    report_.link_error.reset();
    take_connection(std::move(connection));
    control_.set_silence_limit(longest_patience);
    control_->send(FrameType::ResumePoint, stream::encode(point));
    enter(DestinationState::Receiving);
    log::info("the source is back: the migration goes on");
    control_->hold_input(false);
}

} // namespace drover
