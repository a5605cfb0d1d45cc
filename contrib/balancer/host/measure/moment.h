// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "util/clock.h"

namespace drover::balancer {

/// When a sample is taken: rates go by the monotonic clock, so that a jump of the other one does
/// no harm.
struct Moment {
    TimePoint at;
    double utc = 0; ///< seconds since 1970

    [[nodiscard]] static Moment now()
    {
        const std::chrono::duration<double> utc =
            std::chrono::system_clock::now().time_since_epoch();
        return {Clock::now(), utc.count()};
    }
};

namespace measure {

/// Seconds between the samples of somebody who is asked about each second.
class Elapsed {
public:
    /// Time since the call before; 0 at the first, and if it is too short to make a rate of.
    [[nodiscard]] double step(TimePoint now)
    {
        const double seconds = last_ == TimePoint() ? 0 : Duration(now - last_).count();
        last_ = now;
        return seconds >= shortest ? seconds : 0;
    }

private:
    static constexpr double shortest = 0.001;
    TimePoint last_;
};

} // namespace measure

} // namespace drover::balancer
