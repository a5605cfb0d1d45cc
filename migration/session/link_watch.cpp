// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/session/link_watch.h"

#include <algorithm>
#include <utility>

namespace drover {

namespace {
constexpr std::chrono::milliseconds ping_period{100};
constexpr std::chrono::milliseconds own_stall{300}; ///< between two ticks
} // namespace

LinkWatch::LinkWatch(stream::FrameConnection& connection, std::function<void(Error)> silent)
    : connection_(connection), silent_(std::move(silent))
{
    timer_ = loop::every(ping_period, [this] { tick(); });
}

void LinkWatch::set_limit(std::chrono::milliseconds limit)
{
    limit_ = limit;
    limit_since_ = Clock::now();
}

bool LinkWatch::handle(const stream::Frame& frame)
{
    if (frame.header.type == stream::FrameType::Ping) {
        connection_.send(stream::FrameType::Pong, frame.payload);
        return true;
    }
    return frame.header.type == stream::FrameType::Pong;
}

/// Only a silence that has ended says how patient to be with the next.
void LinkWatch::measure_gap()
{
    const TimePoint heard = connection_.last_heard();
    longest_gap_ = std::max(longest_gap_, heard - std::exchange(heard_before_, heard));
}

Clock::duration LinkWatch::patience() const
{
    const Clock::duration limit = limit_;
    return std::max(limit, std::min<Clock::duration>(3 * longest_gap_, longest_patience));
}

void LinkWatch::tick()
{
    // Our own stall (swapped out, a full log) is not the peer's silence: what it sent meanwhile has
    // not been read yet.
    const TimePoint now = Clock::now();
    if (now - std::exchange(last_tick_, now) > own_stall) {
        limit_since_ = now;
        heard_before_ = connection_.last_heard();
    }
    measure_gap();
    // A tighter limit starts to count when it is set, not before.
    const TimePoint heard = std::max(connection_.last_heard(), limit_since_);
    if (now - heard <= patience()) {
        connection_.send(stream::FrameType::Ping, stream::encode_u64(++cookie_));
        return;
    }
    timer_.reset();
    char text[96];
    snprintf(text, sizeof text, "nothing was heard of the peer for %.1f s", seconds_since(heard));
    auto silent = std::move(silent_);
    silent(Error{ErrorKind::Connection, text, "is the network between the two hosts cut?"});
}

} // namespace drover
