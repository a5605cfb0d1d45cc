// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/session/link_watch.h"

#include <algorithm>

namespace drover {

namespace {
constexpr std::chrono::milliseconds ping_period{100};
}

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

void LinkWatch::tick()
{
    // A tighter limit starts to count when it is set, not before.
    const TimePoint heard = std::max(connection_.last_heard(), limit_since_);
    if (Clock::now() - heard <= limit_) {
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
