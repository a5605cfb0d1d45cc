// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/judge/amount.h"

#include <array>

namespace drover::balancer {

/// The course of one guest's day in half hours: processor, rx and tx (memory has no season).
/// Learned from the means of each half hour, yesterday's weighing more than the day before's.
class Season {
public:
    static constexpr size_t bins = 48;
    static constexpr double bin_s = 86400.0 / bins;

    Season();
    void add(double time, const Amount& demand);
    /// By how much the profile is above its value at `time` at most within the next `horizon`
    /// seconds; 0 where nothing is known.
    [[nodiscard]] Amount later(double time, double horizon) const;

private:
    [[nodiscard]] float at(size_t what, double time) const;

    static constexpr size_t kinds = 3;
    std::array<std::array<float, bins>, kinds> profile_; ///< NaN: not seen yet
    std::array<float, kinds> sum_{};
    int64_t bin_ = -1; ///< half hours since 1970: the one that is summed
    uint32_t count_ = 0;
};

} // namespace drover::balancer
