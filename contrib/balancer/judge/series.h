// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace drover::balancer {

/// One measured quantity as level and error, so small that there can be hundreds of thousands.
/// Exponential smoothing with a time constant, so that the rate of samples does not matter. A
/// sample far from the level is clipped; a run of them on the same side that lasts is believed, and
/// the level jumps to its mean.
class Series {
public:
    /// `belief` (s): for so long, and in three samples, a run must last.
    void add(float value, float seconds_since_last, float belief);
    /// A known step: a VM came or went.
    void shift(float by) { level_ += by; }
    /// It is measured in another unit from now on.
    void scale(float by)
    {
        level_ *= by;
        error_ *= by;
        run_mean_ *= by;
    }

    [[nodiscard]] bool known() const { return count_ > 0; }
    [[nodiscard]] float level() const { return level_; }
    /// Standard deviation of samples about the level.
    [[nodiscard]] float sigma() const { return error_; }

private:
    [[nodiscard]] bool believes(float value, float seconds, bool is_far, float belief);

    float level_ = 0;
    float error_ = 0;
    float run_mean_ = 0;
    float run_s_ = 0;
    int8_t run_ = 0;    ///< far samples in a row; the sign tells the side; saturates
    uint8_t count_ = 0; ///< of samples since it began or jumped; saturates
};

/// A straight line through the last buckets, by medians: one wild sample does not turn it.
struct Climb {
    double slope = 0;    ///< unit/s
    double now = 0;      ///< the line's value at the latest point
    double ahead = 0;    ///< … and `seconds` later
    double sigma = 0;    ///< standard error of `ahead`
    double strength = 0; ///< slope by its standard error; below 4 it may be chance
    double rise = 0;     ///< over the points seen
};

/// The last twelve buckets of so many seconds, each the mean of its samples.
class Recent {
public:
    static constexpr size_t buckets = 12;
    static constexpr size_t enough = 6;

    explicit Recent(float bucket_s) : bucket_s_(bucket_s) {}
    void add(double time, float value);
    void shift(float by);
    void scale(float by);
    [[nodiscard]] size_t size() const { return size_; }
    /// Of at least `enough` points; else all 0.
    [[nodiscard]] Climb climb(double seconds) const;

private:
    std::array<float, buckets> value_{};
    std::array<uint16_t, buckets> samples_{};
    double start_ = 0; ///< of the newest bucket
    float bucket_s_;
    uint8_t size_ = 0;
    uint8_t newest_ = 0;
};

} // namespace drover::balancer
