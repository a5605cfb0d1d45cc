// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <chrono>

namespace drover {

/// All durations in Drover are of this clock: monotonic, never set back.
using Clock = std::chrono::steady_clock;
using TimePoint = Clock::time_point;
using Duration = std::chrono::duration<double>; ///< seconds, as a double

[[nodiscard]] inline double seconds_since(TimePoint start)
{
    return Duration(Clock::now() - start).count();
}

[[nodiscard]] inline double milliseconds_since(TimePoint start)
{
    return seconds_since(start) * 1e3;
}

} // namespace drover
