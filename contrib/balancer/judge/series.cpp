// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/judge/series.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace drover::balancer {

namespace {

constexpr float level_s = 30; ///< time constants: a sample's weight falls to 1/e after so long
constexpr float error_s = 300;
constexpr float outlying = 3;        ///< standard deviations
constexpr int8_t believed = 3;       ///< far samples in a row, at least
constexpr int8_t longest_run = 100;  ///< as it is counted
constexpr uint8_t settled_after = 5; ///< samples before any is called far

/// Median of an array that may be reordered.
template <typename It> double median(It begin, It end)
{
    const auto middle = begin + (end - begin) / 2;
    std::nth_element(begin, middle, end);
    return *middle;
}

} // namespace

/// Whether the run of far samples, with this one, has lasted.
bool Series::believes(float value, float seconds, bool is_far, float belief)
{
    const bool above = value > level_;
    const bool goes_on = is_far && run_ != 0 && (run_ > 0) == above;
    if (!goes_on) {
        run_ = 0;
        run_s_ = 0;
        run_mean_ = 0;
    }
    if (!is_far)
        return false;
    const int length = std::min(std::abs(run_) + 1, int(longest_run));
    run_ = static_cast<int8_t>(above ? length : -length);
    run_s_ += seconds;
    run_mean_ += (value - run_mean_) / float(length);
    return length >= believed && run_s_ >= belief;
}

void Series::add(float value, float seconds, float belief)
{
    if (count_ == 0) {
        level_ = value;
        count_ = 1;
        return;
    }
    const float residual = value - level_;
    const float limit = outlying * error_;
    const bool is_far = count_ >= settled_after && std::abs(residual) > limit;
    if (believes(value, seconds, is_far, belief)) {
        // Its mean may have the edge of the jump in it: it begins anew, as the mean of what
        // follows.
        level_ = run_mean_;
        run_ = 0;
        count_ = 1;
        return;
    }
    const float taken = is_far ? std::clamp(residual, -limit, limit) : residual;
    level_ += std::max(1 - std::exp(-seconds / level_s), 1.0F / float(count_ + 1)) * taken;
    // Early on the error is the mean of what was seen, not of what is long gone. A clipped residual
    // counts a little more than its limit, so that the error can grow.
    const float weight = std::max(1 - std::exp(-seconds / error_s), 1.0F / float(count_));
    const float square = is_far ? 1.5F * limit * limit : residual * residual;
    error_ = std::sqrt(error_ * error_ + weight * (square - error_ * error_));
    if (count_ < std::numeric_limits<uint8_t>::max())
        ++count_;
}

void Recent::add(double time, float value)
{
    const double bucket = std::floor(time / bucket_s_) * bucket_s_;
    if (size_ > 0 && bucket == start_) {
        // The mean so far, moved by its part.
        value_[newest_] += (value - value_[newest_]) / float(++samples_[newest_]);
        return;
    }
    // A hole would bend the line: what is before it does not count any more.
    if (size_ > 0 && (bucket < start_ || bucket > start_ + 2 * double(bucket_s_)))
        size_ = 0;
    newest_ = static_cast<uint8_t>((newest_ + 1) % buckets);
    size_ = static_cast<uint8_t>(std::min<size_t>(size_ + 1, buckets));
    value_[newest_] = value;
    samples_[newest_] = 1;
    start_ = bucket;
}

void Recent::scale(float by)
{
    for (float& value : value_)
        value *= by;
}

void Recent::shift(float by)
{
    for (float& value : value_)
        value += by;
}

Climb Recent::climb(double seconds) const
{
    Climb climb;
    const size_t n = size_;
    if (n < enough)
        return climb;
    const double bucket_s = bucket_s_;
    std::array<double, buckets> y{};
    for (size_t i = 0; i < n; ++i)
        y[i] = value_[(newest_ + buckets - (n - 1) + i) % buckets];
    std::array<double, buckets*(buckets - 1) / 2> slopes{};
    size_t count = 0;
    for (size_t i = 0; i < n; ++i)
        for (size_t j = i + 1; j < n; ++j)
            slopes[count++] = (y[j] - y[i]) / (double(j - i) * bucket_s);
    climb.slope = median(slopes.begin(), slopes.begin() + count);
    std::array<double, buckets> rest{};
    for (size_t i = 0; i < n; ++i)
        rest[i] = y[i] - climb.slope * double(i) * bucket_s;
    const double base = median(rest.begin(), rest.begin() + n);
    for (double& value : rest)
        value = std::abs(value - base);
    // 1.48 times the median deviation is the standard deviation of what is normally distributed.
    const double noise = 1.48 * median(rest.begin(), rest.begin() + n);
    const double last = double(n - 1) * bucket_s;
    const double spread = bucket_s * bucket_s * double(n) * (double(n * n) - 1) / 12;
    climb.now = base + climb.slope * last;
    climb.ahead = climb.now + climb.slope * seconds;
    climb.rise = climb.slope * last;
    const double arm = last / 2 + seconds;
    climb.sigma = noise * std::sqrt(1.0 / double(n) + arm * arm / spread);
    const double slope_error = std::max(noise / std::sqrt(spread), 1e-12);
    climb.strength = climb.slope / slope_error;
    return climb;
}

} // namespace drover::balancer
