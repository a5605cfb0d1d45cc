// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "util/clock.h"

#include <chrono>

namespace drover::balancer::cluster {

/// Where the balancer's parts have the time from, so that tests need not wait. Seconds.
class TimeSource {
public:
    virtual ~TimeSource() = default;
    /// Monotonic. All limits, back-offs and ages are reckoned with it.
    [[nodiscard]] virtual double now() const = 0;
    /// Since 1970 (UTC); may be set back and forth. Only for what people read, and for the age of
    /// what a former run left.
    [[nodiscard]] virtual double wall() const = 0;
};

class RealTime : public TimeSource {
public:
    [[nodiscard]] double now() const override
    {
        return Duration(Clock::now().time_since_epoch()).count();
    }
    [[nodiscard]] double wall() const override
    {
        return Duration(std::chrono::system_clock::now().time_since_epoch()).count();
    }
};

} // namespace drover::balancer::cluster
