// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/judge/season.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace drover::balancer {

namespace {

constexpr std::array<Resource, 3> seasonal{Resource::Cpu, Resource::Rx, Resource::Tx};
constexpr float newest_day = 0.5;
constexpr uint32_t enough = 10; ///< samples, for a half hour to count

} // namespace

Season::Season()
{
    for (auto& profile : profile_)
        profile.fill(std::numeric_limits<float>::quiet_NaN());
}

void Season::add(double time, const Amount& demand)
{
    const auto bin = static_cast<int64_t>(time / bin_s);
    if (bin != bin_) {
        for (size_t i = 0; i < kinds && count_ >= enough; ++i) {
            float& known = profile_[i][static_cast<size_t>(bin_) % bins];
            const float mean = sum_[i] / float(count_);
            known = std::isnan(known) ? mean : known + newest_day * (mean - known);
        }
        sum_ = {};
        count_ = 0;
        bin_ = bin;
    }
    for (size_t i = 0; i < kinds; ++i)
        sum_[i] += static_cast<float>(demand[seasonal[i]]);
    ++count_;
}

/// Half hours' means sit in their middles; between them a straight line.
float Season::at(size_t what, double time) const
{
    const double place = time / bin_s - 0.5;
    const auto left = static_cast<size_t>(place);
    const auto part = static_cast<float>(place - std::floor(place));
    return profile_[what][left % bins] * (1 - part) + profile_[what][(left + 1) % bins] * part;
}

Amount Season::later(double time, double horizon) const
{
    Amount more;
    for (size_t i = 0; i < kinds; ++i) {
        const float now = at(i, time);
        for (double ahead = bin_s / 3; ahead <= horizon; ahead += bin_s / 3)
            if (const float then = at(i, time + ahead); then > now) // not if one is NaN
                more[seasonal[i]] = std::max<double>(more[seasonal[i]], then - now);
    }
    return more;
}

} // namespace drover::balancer
