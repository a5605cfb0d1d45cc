// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/transport/rate_limit.h"

#include <algorithm>

namespace drover {

namespace {

constexpr double bucket_seconds = 0.010;
constexpr double smallest_bucket = 64 << 10;
// A waiter looks again at least this often; it also keeps durations within the clock's range.
constexpr Duration longest_wait{3600};

} // namespace

double TokenBucket::capacity() const
{
    return std::max(rate_ * bucket_seconds, smallest_bucket);
}

void TokenBucket::refill(TimePoint now)
{
    if (now > filled_)
        tokens_ = std::min(tokens_ + rate_ * Duration(now - filled_).count(), capacity());
    filled_ = std::max(filled_, now);
}

void TokenBucket::set_rate(uint64_t bytes_per_second, TimePoint now)
{
    const double rate = static_cast<double>(bytes_per_second);
    if (rate_ == 0) {
        rate_ = rate;
        tokens_ = capacity();
        filled_ = now;
        return;
    }
    refill(now);
    if (tokens_ < 0)
        tokens_ = std::max(tokens_, tokens_ * rate / rate_);
    rate_ = rate;
    tokens_ = std::min(tokens_, capacity());
}

Duration TokenBucket::wait_time(TimePoint now)
{
    if (rate_ == 0)
        return Duration::zero();
    refill(now);
    if (tokens_ >= 0)
        return Duration::zero();
    return std::min(Duration(-tokens_ / rate_), longest_wait);
}

void TokenBucket::take(uint64_t bytes)
{
    if (rate_ != 0)
        tokens_ -= static_cast<double>(bytes);
}

void RateLimit::set_rate(uint64_t bytes_per_second)
{
    {
        const std::lock_guard lock(mutex_);
        bucket_.set_rate(bytes_per_second, Clock::now());
    }
    changed_.notify_all();
}

bool RateLimit::acquire(uint64_t bytes)
{
    std::unique_lock lock(mutex_);
    while (!stopped_) {
        const TimePoint now = Clock::now();
        const Duration wait = bucket_.wait_time(now);
        if (wait <= Duration::zero()) {
            bucket_.take(bytes);
            return true;
        }
        // Rounded up: a wait of less than the clock's tick would spin.
        changed_.wait_until(lock, now + std::chrono::ceil<Clock::duration>(wait));
    }
    return false;
}

void RateLimit::stop()
{
    {
        const std::lock_guard lock(mutex_);
        stopped_ = true;
    }
    changed_.notify_all();
}

void RateLimit::start()
{
    const std::lock_guard lock(mutex_);
    stopped_ = false;
}

} // namespace drover
