// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "util/clock.h"

#include <optional>

namespace drover::balancer {

/// Makes a rate of how much a migration has sent so far, which an emulator tells at moments that
/// come as they come.
class TransferRate {
public:
    /// Takes what was sent up to `now`; returns the rate over the last second or so, in bytes/s.
    /// Sums that come faster than twice a second, as after events, do not make it jump.
    /// The first call sets where it begins.
    double update(double bytes, TimePoint now)
    {
        if (!last_) {
            last_ = Sent{bytes, now};
            return rate_;
        }
        const double seconds = Duration(now - last_->at).count();
        if (seconds < shortest_s)
            return rate_;
        rate_ = bytes > last_->bytes ? (bytes - last_->bytes) / seconds : 0;
        last_ = Sent{bytes, now};
        return rate_;
    }

private:
    static constexpr double shortest_s = 0.4;
    struct Sent {
        double bytes = 0;
        TimePoint at;
    };
    std::optional<Sent> last_;
    double rate_ = 0;
};

} // namespace drover::balancer
