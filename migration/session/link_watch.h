// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/stream/frame_io.h"
#include "util/loop.h"

#include <chrono>
#include <functional>

namespace drover {

/// How long a control connection may be silent. While the guest runs patience costs nothing; while
/// it stands still the source must carry on within a second.
inline constexpr std::chrono::milliseconds patient_silence{10'000};
inline constexpr std::chrono::milliseconds blackout_silence{800};
inline constexpr std::chrono::milliseconds longest_patience{3'000};
/// In post-copy the guest runs, until it needs a page.
inline constexpr std::chrono::milliseconds postcopy_silence{2'000};

/// Pings the peer over a control connection and notices its silence: a link that was cut somewhere
/// in between sends no reset. A peer that was silent for a while before, on a busy host or behind a
/// slow network, is given three times that, if that is more than the limit, and no more than
/// `longest_patience`. Loop thread only.
class LinkWatch {
public:
    /// `silent` is called once. `connection` must outlive the watch.
    LinkWatch(stream::FrameConnection& connection, std::function<void(Error)> silent);

    void set_limit(std::chrono::milliseconds limit);

    /// Answers a Ping; true if the frame was a Ping or Pong and needs no more attention.
    [[nodiscard]] bool handle(const stream::Frame& frame);

private:
    void tick();
    void measure_gap();
    [[nodiscard]] Clock::duration patience() const;

    stream::FrameConnection& connection_;
    std::function<void(Error)> silent_;
    std::chrono::milliseconds limit_ = patient_silence;
    TimePoint limit_since_ = Clock::now();
    TimePoint last_tick_ = Clock::now();
    TimePoint heard_before_ = Clock::now(); ///< as the tick before this one saw it
    Clock::duration longest_gap_{};         ///< between two words of the peer's
    uint64_t cookie_ = 0;
    loop::Source timer_;
};

} // namespace drover
