// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/session/link_watch.h"

#include <memory>
#include <optional>

namespace drover {

/// The control connection and the watch over it, which pings it each 100 ms: the watch never
/// outlives what it watches, whoever lets the connection go. Loop thread only.
class ControlLink {
public:
    explicit operator bool() const { return connection_ != nullptr; }
    [[nodiscard]] stream::FrameConnection* get() const { return connection_.get(); }
    stream::FrameConnection* operator->() const { return connection_.get(); }
    stream::FrameConnection& operator*() const { return *connection_; }

    /// Takes a connection's place, unwatched.
    ControlLink& operator=(std::unique_ptr<stream::FrameConnection> connection)
    {
        unwatch();
        connection_ = std::move(connection);
        return *this;
    }
    void reset() { *this = nullptr; }
    /// Says what is still to be said and ends, in the background.
    void close_gracefully()
    {
        unwatch();
        stream::FrameConnection::close_gracefully(std::move(connection_));
    }

    /// `silent`: see LinkWatch. There must be a connection.
    void watch(std::function<void(Error)> silent)
    {
        watch_.emplace(*connection_, std::move(silent));
    }
    void unwatch() { watch_.reset(); }
    /// Nothing without a watch.
    void set_silence_limit(std::chrono::milliseconds limit)
    {
        if (watch_)
            watch_->set_limit(limit);
    }
    /// True for the watch's own frames, a Ping or Pong: they need no more attention.
    [[nodiscard]] bool handled_by_watch(const stream::Frame& frame)
    {
        return watch_ && watch_->handle(frame);
    }

private:
    std::unique_ptr<stream::FrameConnection> connection_;
    std::optional<LinkWatch> watch_; // after the connection: it goes first
};

} // namespace drover
